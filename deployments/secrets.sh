#!/bin/sh
# Draws every secret of a marketplace into files that only their owner reads, below secrets/ (which git ignores):
#
#   deployments/secrets.sh                                          # for deployments/compose.yaml
#   MP_POSTGRES=db.example.com:5432 MP_POSTGRES_TLS=require deployments/secrets.sh   # a managed Postgres
#
# AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment are taken as the store's keys; else new ones are drawn,
# for the store of compose.yaml. Files that are there stay as they are: a secret is never drawn over.
set -eu
umask 077
folder=${1:-secrets}
postgres=${MP_POSTGRES:-postgres:5432}
tls=${MP_POSTGRES_TLS:-}

for name in operator edge prefect postgres store; do
  if [ -e "$folder/$name.env" ]; then
    echo "$folder/$name.env is there already. Move it away first, if its secrets are to be drawn anew." >&2
    exit 1
  fi
done
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
AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$hidden
END
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
