//! Helpers over OpenBao's HTTP API: what tests set up and look at.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::openbao::OpenBao;
use crate::postgres::Postgres;

/// A version of a KV v2 secret.
#[derive(Debug, Clone, PartialEq)]
pub struct KvVersion {
    /// The keys and values; `None` if the version is deleted or destroyed.
    pub data: Option<Map<String, Value>>,
    /// Version, creation and deletion time, whether destroyed: as OpenBao gives it.
    pub metadata: Value,
}

/// A login of an application.
#[derive(Debug, Clone)]
pub struct AppRole {
    /// Who.
    pub role_id: String,
    /// Its secret.
    pub secret_id: String,
}

/// A token and its accessor.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token itself.
    pub token: String,
    /// What it is looked up and revoked by.
    pub accessor: String,
}

/// How a token lives. Durations as OpenBao takes them: `90s`, `1h`.
#[derive(Debug, Clone, Default)]
pub struct TokenOptions<'a> {
    /// Time to live; the server's default if none.
    pub ttl: Option<&'a str>,
    /// The end that no renewal passes.
    pub explicit_max_ttl: Option<&'a str>,
    /// Makes a periodic token.
    pub period: Option<&'a str>,
    /// How many requests it is good for; 0 is any number.
    pub num_uses: u32,
    /// Makes a token that can't be renewed.
    pub not_renewable: bool,
}

impl OpenBao {
    /// Mounts KV version 1 at `path`.
    ///
    /// # Errors
    /// If OpenBao refuses (as for all helpers here).
    pub async fn mount_kv1(&self, path: &str) -> Result<()> {
        self.mount(path, json!({"type": "kv", "options": {"version": "1"}})).await
    }

    /// Mounts KV version 2 at `path`, and waits until it takes writes.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn mount_kv2(&self, path: &str) -> Result<()> {
        self.mount(path, json!({"type": "kv", "options": {"version": "2"}})).await?;
        // The engine sets itself up after the mount call has answered, and refuses until it is done.
        let config = format!("{path}/config");
        let ready = crate::wait_until("the new KV engine", std::time::Duration::from_secs(20), async || {
            let (status, _) = self.request("GET", &config, None).await.ok()?;
            (status == 200).then_some(())
        });
        ready.await
    }

    /// Mounts any engine: `{"type": …, …}`.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn mount(&self, path: &str, engine: Value) -> Result<()> {
        self.call("POST", &format!("sys/mounts/{path}"), Some(&engine)).await?;
        Ok(())
    }

    /// Writes a KV v1 secret.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn kv1_put(&self, mount: &str, path: &str, data: Value) -> Result<()> {
        self.call("POST", &format!("{mount}/{path}"), Some(&data)).await?;
        Ok(())
    }

    /// Reads a KV v1 secret; `None` if there is none.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn kv1_get(&self, mount: &str, path: &str) -> Result<Option<Map<String, Value>>> {
        let (_, answer) = self.request("GET", &format!("{mount}/{path}"), None).await?;
        Ok(answer.get("data").and_then(Value::as_object).cloned())
    }

    /// Writes a new version of a KV v2 secret, and gives its number.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn kv_put(&self, mount: &str, path: &str, data: Value) -> Result<u64> {
        let answer = self.call("POST", &format!("{mount}/data/{path}"), Some(&json!({ "data": data }))).await?;
        answer.pointer("/data/version").and_then(Value::as_u64).context("no version in the answer")
    }

    /// Reads a version (0: the newest) of a KV v2 secret; `None` if there is none.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn kv_get(&self, mount: &str, path: &str, version: u64) -> Result<Option<KvVersion>> {
        let (_, answer) = self.request("GET", &format!("{mount}/data/{path}?version={version}"), None).await?;
        let Some(metadata) = answer.pointer("/data/metadata").cloned() else {
            return Ok(None);
        };
        let data = answer.pointer("/data/data").and_then(Value::as_object).cloned();
        Ok(Some(KvVersion { data, metadata }))
    }

    /// The metadata of a KV v2 secret: `current_version`, `versions`, …
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn kv_metadata(&self, mount: &str, path: &str) -> Result<Value> {
        let answer = self.call("GET", &format!("{mount}/metadata/{path}"), None).await?;
        answer.get("data").cloned().context("no data in the answer")
    }

    /// Writes an ACL policy.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn policy(&self, name: &str, hcl: &str) -> Result<()> {
        self.call("PUT", &format!("sys/policies/acl/{name}"), Some(&json!({ "policy": hcl }))).await?;
        Ok(())
    }

    /// Writes a password policy.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn password_policy(&self, name: &str, hcl: &str) -> Result<()> {
        self.call("PUT", &format!("sys/policies/password/{name}"), Some(&json!({ "policy": hcl }))).await?;
        Ok(())
    }

    /// Makes a token with these policies and no default one.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn token(&self, policies: &[&str], options: &TokenOptions<'_>) -> Result<Token> {
        let mut body = json!({
            "policies": policies,
            "no_parent": true,
            "renewable": !options.not_renewable,
            "num_uses": options.num_uses,
        });
        for (field, value) in
            [("ttl", options.ttl), ("explicit_max_ttl", options.explicit_max_ttl), ("period", options.period)]
        {
            if let (Some(value), Some(fields)) = (value, body.as_object_mut()) {
                fields.insert(field.to_owned(), json!(value));
            }
        }
        let answer = self.call("POST", "auth/token/create", Some(&body)).await?;
        let token = text(&answer, "/auth/client_token")?;
        Ok(Token { token, accessor: text(&answer, "/auth/accessor")? })
    }

    /// Makes an AppRole (at `auth/approle`, which is enabled if it is not) and a secret id for it. `extra` is merged into the
    /// role: `{"token_ttl": "5s"}`; null for none.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn approle(&self, name: &str, policies: &[&str], extra: &Value) -> Result<AppRole> {
        let (status, answer) = self.request("POST", "sys/auth/approle", Some(&json!({"type": "approle"}))).await?;
        let in_use = answer.to_string().contains("already in use");
        anyhow::ensure!(status < 300 || in_use, "enabling AppRole: {status} {answer}");
        let mut role = json!({ "token_policies": policies });
        if let (Some(fields), Some(more)) = (role.as_object_mut(), extra.as_object()) {
            fields.extend(more.clone());
        }
        let path = format!("auth/approle/role/{name}");
        self.call("POST", &path, Some(&role)).await?;
        let role_id = self.call("GET", &format!("{path}/role-id"), None).await?;
        Ok(AppRole { role_id: text(&role_id, "/data/role_id")?, secret_id: self.approle_secret_id(name).await? })
    }

    /// One more secret id of an AppRole.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn approle_secret_id(&self, name: &str) -> Result<String> {
        let answer = self.call("POST", &format!("auth/approle/role/{name}/secret-id"), None).await?;
        text(&answer, "/data/secret_id")
    }

    /// Mounts the database engine at `mount` with one connection, `name`, to the PostgreSQL of the testbed.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn database_config(&self, mount: &str, name: &str, postgres: &Postgres) -> Result<()> {
        self.mount(mount, json!({"type": "database"})).await?;
        let (port, user) = (postgres.port(), postgres.admin_user());
        let connection = json!({
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": "*",
            "connection_url": format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/postgres?sslmode=disable"),
            "username": user,
            "password": postgres.admin_password(),
            "password_authentication": "scram-sha-256",
        });
        self.call("POST", &format!("{mount}/config/{name}"), Some(&connection)).await?;
        Ok(())
    }

    /// Makes a static role for an existing database user; OpenBao rotates the password at once. `period` as `24h`.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn static_role(&self, mount: &str, role: &str, database: &str, user: &str, period: &str) -> Result<()> {
        let body = json!({"db_name": database, "username": user, "rotation_period": period});
        self.call("POST", &format!("{mount}/static-roles/{role}"), Some(&body)).await?;
        Ok(())
    }

    /// The current user name and password of a static role.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn static_creds(&self, mount: &str, role: &str) -> Result<(String, String)> {
        let answer = self.call("GET", &format!("{mount}/static-creds/{role}"), None).await?;
        Ok((text(&answer, "/data/username")?, text(&answer, "/data/password")?))
    }

    /// Makes a dynamic role whose users can log in.
    ///
    /// # Errors
    /// See [`OpenBao::mount_kv1`].
    pub async fn dynamic_role(&self, mount: &str, role: &str, database: &str, ttl: &str) -> Result<()> {
        let create = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';";
        let body = json!({"db_name": database, "creation_statements": [create], "default_ttl": ttl, "max_ttl": ttl});
        self.call("POST", &format!("{mount}/roles/{role}"), Some(&body)).await?;
        Ok(())
    }
}

fn text(answer: &Value, pointer: &str) -> Result<String> {
    let value = answer.pointer(pointer).and_then(Value::as_str);
    Ok(value.with_context(|| format!("no {pointer} in OpenBao's answer"))?.to_owned())
}
