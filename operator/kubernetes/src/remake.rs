//! Replacing a row that somebody with the right to update has made unreplaceable.

use ps_core::error::Class;
use ps_core::ports::CasError;

use crate::table::{Row, SecretTable, within};

impl SecretTable {
    /// As [`SecretTable::replace`], also where somebody has made the Secret immutable, or had it deleted while a finalizer of
    /// theirs keeps it: then it is deleted, if it still has version `unchanged`, and made anew. That takes the verbs `delete`,
    /// `create` and `patch`. Owners, finalizers and annotations of others are gone afterwards, as with any replacement.
    ///
    /// Making anew is two requests. Between them, moments, the name is unknown; if this process ends there it stays unknown.
    ///
    /// # Errors
    /// As for [`SecretTable::replace`]; `Conflict` also if somebody made the row anew in between. After a transient fault it may
    /// be there as it was, as asked for, or gone.
    pub async fn replace_or_remake(&self, row: &Row, unchanged: u64) -> Result<u64, CasError> {
        within(&self.doing("update", &row.name), async {
            match self.write(row, Some(unchanged)).await {
                Ok(written) if written.going => {
                    tracing::warn!(name = row.name, "a row that was being deleted is made anew");
                }
                Ok(written) => return Ok(written.version),
                Err(CasError::Failed(fault)) if fault.class == Class::Permanent => {
                    if !self.is_immutable(&row.name, unchanged).await? {
                        return Err(CasError::Failed(fault));
                    }
                    tracing::warn!(name = row.name, "somebody made a row immutable: it is deleted and made anew");
                    self.remove(&row.name, unchanged).await?;
                }
                Err(error) => return Err(error),
            }
            match self.write(row, None).await {
                Ok(written) => Ok(written.version),
                Err(CasError::AlreadyExists) => Err(CasError::Conflict),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Whether the row is immutable. `Conflict` if it is not at that version.
    async fn is_immutable(&self, name: &str, version: u64) -> Result<bool, CasError> {
        let found = self.read_any(name).await.map_err(CasError::Failed)?.ok_or(CasError::Conflict)?;
        let found_version = found.metadata.version(&self.doing("get", name)).map_err(CasError::Failed)?;
        if found_version == version { Ok(found.immutable) } else { Err(CasError::Conflict) }
    }
}
