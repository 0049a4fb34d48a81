//! Policy files that are read again when they change.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Published, YamlPolicy, files};
use crate::{
    bundle::{OnNoMatch, Origin, PolicySet},
    error::BundleErrors,
    publish::{Source, Trust},
};

/// Files, or the policy files of a directory, as the operator's bundles. With [`Trust`] in keys, the signature of
/// `safety.yaml` stands in `safety.yaml.sig`.
///
/// ```no_run
/// use coretex_policy::{PolicyFiles, Trust, YamlPolicy};
///
/// let mut files = PolicyFiles::in_dir("/etc/coretex/policy", Trust::Anyone);
/// let engine = YamlPolicy::strict()?;
/// // Now, and whenever the host thinks it is time:
/// if let Some(published) = files.reload(&engine) {
///     eprintln!("policy {} -> {}\n{}", published.before, published.after, published.errors);
/// }
/// # Ok::<(), coretex_policy::BundleErrors>(())
/// ```
#[derive(Debug)]
pub struct PolicyFiles {
    place: Where,
    trust: Trust,
    on_no_match: OnNoMatch,
    /// Digest of what was read last, errors included.
    seen: Option<[u8; 32]>,
}

#[derive(Debug)]
enum Where {
    Files(Vec<PathBuf>),
    Dir(PathBuf),
}

impl PolicyFiles {
    /// These files.
    pub fn of<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>, trust: Trust) -> Self {
        Self::at(Where::Files(paths.into_iter().map(Into::into).collect()), trust)
    }

    /// The policy files of a directory, whichever they are at the time.
    pub fn in_dir(dir: impl Into<PathBuf>, trust: Trust) -> Self {
        Self::at(Where::Dir(dir.into()), trust)
    }

    /// What holds where no rule matches and no document says it.
    #[must_use]
    pub const fn on_no_match(mut self, on_no_match: OnNoMatch) -> Self {
        self.on_no_match = on_no_match;
        self
    }

    fn at(place: Where, trust: Trust) -> Self {
        Self { place, trust, on_no_match: OnNoMatch::Deny, seen: None }
    }

    /// Reads the files, and publishes them if anything about them changed since the last time. A file that is broken,
    /// unsigned or cannot be read keeps its last good version; see [`YamlPolicy::publish_lenient`]. A directory that
    /// cannot be read changes nothing. `None` if all is as it was.
    pub fn reload(&mut self, engine: &YamlPolicy) -> Option<Published> {
        let listed = match &self.place {
            Where::Files(paths) => Ok(paths.clone()),
            Where::Dir(dir) => files::listing(dir),
        };
        let mut seen = Sha256::new();
        let published = match listed {
            Err(errors) => {
                seen.update(errors.to_string());
                Err(errors)
            }
            Ok(paths) => {
                let mut set = PolicySet::new().on_no_match(self.on_no_match);
                for path in paths {
                    let id = path.display().to_string();
                    let source = source(&path, &id);
                    match &source {
                        Ok(source) => seen.update(serde_json::to_vec(source).unwrap_or_default()),
                        Err(errors) => seen.update(errors.to_string()),
                    }
                    seen.update([0]);
                    set = match source.and_then(|source| source.read(&self.trust)) {
                        Ok(bundle) => set.bundle(bundle),
                        Err(errors) => set.broken(id, Origin::Base, errors),
                    };
                }
                Ok(set)
            }
        };
        let seen: [u8; 32] = seen.finalize().into();
        if self.seen == Some(seen) {
            return None;
        }
        self.seen = Some(seen);
        Some(match published {
            Ok(set) => engine.publish_lenient(set),
            Err(errors) => {
                let id = engine.current().id().clone();
                Published { before: id.clone(), after: id, kept: Vec::new(), quarantined: Vec::new(), errors }
            }
        })
    }
}

fn source(path: &Path, id: &str) -> Result<Source, BundleErrors> {
    let source = Source::new(id, Origin::Base, files::read(path)?);
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    let signature = PathBuf::from(name);
    if signature.exists() {
        return Ok(source.signed(files::read(&signature)?.trim()));
    }
    Ok(source)
}
