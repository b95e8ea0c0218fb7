#!/bin/sh
# Draws every secret of a marketplace into files that only their owner reads, below secrets/ (which git ignores):
#
#   deployments/secrets.sh                                                           # for deployments/compose.yaml
#   MP_POSTGRES=db.example.com:5432 MP_POSTGRES_TLS=require deployments/secrets.sh   # for a managed Postgres and a bucket
#
# The store's keys are those of the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or CLOUDFLARE_R2_ACCESS_KEY,
# CLOUDFLARE_R2_SECRET_KEY and CLOUDFLARE_R2_ACCOUNT_ID. Without any, new ones are drawn for the store of compose.yaml; with
# MP_POSTGRES that is refused. Files that are there stay as they are: a secret is never drawn over.
set -eu
umask 077
folder=${1:-secrets}
postgres=${MP_POSTGRES:-postgres:5432}
tls=${MP_POSTGRES_TLS:-}
aws=${AWS_ACCESS_KEY_ID:-}${AWS_SECRET_ACCESS_KEY:-}
r2=${CLOUDFLARE_R2_ACCESS_KEY:-}${CLOUDFLARE_R2_SECRET_KEY:-}${CLOUDFLARE_R2_ACCOUNT_ID:-}

refuse() {
  echo "$1" >&2
  exit 1
}

for name in operator edge prefect postgres store; do
  if [ -e "$folder/$name.env" ]; then
    refuse "$folder/$name.env is there already. Move it away first, if its secrets are to be drawn anew."
  fi
done
if [ -n "$aws" ] && [ -n "$r2" ]; then
  refuse "Keys of S3 and of R2 are in the environment: unset those of the store that is not yours."
elif [ -n "$r2" ]; then
  for name in CLOUDFLARE_R2_ACCESS_KEY CLOUDFLARE_R2_SECRET_KEY CLOUDFLARE_R2_ACCOUNT_ID; do
    eval "[ -n \"\${$name:-}\" ]" || refuse "$name is missing: R2 needs all three."
  done
elif [ -n "$aws" ]; then
  for name in AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
    eval "[ -n \"\${$name:-}\" ]" || refuse "$name is missing: the store's key has two parts."
  done
  if [ -n "${AWS_SESSION_TOKEN:-}" ]; then
    refuse "AWS_SESSION_TOKEN is set: those keys end within hours. Make a user's key for the bucket, and unset it."
  fi
elif [ -n "${MP_POSTGRES:-}" ]; then
  refuse "No keys of a bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or R2's three). docs/deploy.md makes them."
fi
mkdir -p "$folder"

random() { openssl rand -base64 32; }
word() { openssl rand -hex "$1"; } # for URLs: letters and digits

owner=$(word 24) edge=$(word 24) prefect=$(word 24) people="mp:$(word 24)"
key=${AWS_ACCESS_KEY_ID:-$(word 10)}
hidden=${AWS_SECRET_ACCESS_KEY:-$(word 24)}
pepper=$(random) jwt=$(random) seed=$(random) url=$(random) service=$(random) master=$(random)

# The same for everybody but the login to the database: edges have none of the tables' owner.
for name in operator edge; do
  case $name in
    operator) login="mp_owner:$owner" ;;
    edge) login="mp_edge:$edge" ;;
  esac
  cat > "$folder/$name.env" << END
INFRA_TOKEN_PEPPER=$pepper
MP_JWT_SECRET=$jwt
MP_SIGNING_SEED=$seed
MP_URL_KEY=$url
MP_SERVICE_KEY=$service
MP_MASTER_KEY=$master
MP_DATABASE_URL=postgresql://$login@$postgres/marketplace${tls:+?sslmode=$tls}
END
  if [ -n "$r2" ]; then
    cat >> "$folder/$name.env" << END
CLOUDFLARE_R2_ACCESS_KEY=$CLOUDFLARE_R2_ACCESS_KEY
CLOUDFLARE_R2_SECRET_KEY=$CLOUDFLARE_R2_SECRET_KEY
CLOUDFLARE_R2_ACCOUNT_ID=$CLOUDFLARE_R2_ACCOUNT_ID
END
  else
    cat >> "$folder/$name.env" << END
AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$hidden
END
  fi
done
echo "PREFECT_API_AUTH_STRING=$people" >> "$folder/operator.env"
cat > "$folder/prefect.env" << END
PREFECT_SERVER_API_AUTH_STRING=$people
PREFECT_API_DATABASE_CONNECTION_URL=postgresql+asyncpg://mp_prefect:$prefect@$postgres/prefect${tls:+?ssl=$tls}
END
cat > "$folder/postgres.env" << END
POSTGRES_USER=postgres
POSTGRES_PASSWORD=$(word 24)
MP_OWNER_PASSWORD=$owner
MP_EDGE_PASSWORD=$edge
MP_PREFECT_PASSWORD=$prefect
END
cat > "$folder/store.env" << END
MINIO_ROOT_USER=$key
MINIO_ROOT_PASSWORD=$hidden
END
echo "drawn: $folder/operator.env, edge.env, prefect.env, postgres.env, store.env. Keep a copy where backups are not." >&2
