//! From a kind's part of the document to its runner.

use std::sync::Arc;

use super::{
    profile::Profile,
    runner::Runner,
    spec::{EndpointSpec, KindSpec},
    start::Host,
    template::Compiler,
};

/// A runner and what is known of it.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) runner: Arc<dyn Runner>,
    /// What it enforces for every job, tools aside.
    pub(crate) enforced: Profile,
    /// It keeps to the list of hosts that a job's constraints give, whether or not it has one of its own.
    pub(crate) judges_hosts: bool,
    /// The main part of its answer: the output unless the document says otherwise.
    pub(crate) main: &'static str,
}

/// Builds the runner, or notes what is wrong.
pub(crate) fn build(
    place: &str,
    name: &str,
    common: &EndpointSpec,
    kind: &KindSpec,
    host: &Host,
    compiler: &mut Compiler<'_>,
) -> Option<Built> {
    // Each is used by some kind.
    let _ = (name, common, host);
    match kind {
        #[cfg(all(feature = "script", target_os = "linux"))]
        KindSpec::Script(spec) => super::script::build(&format!("{place}.script"), common, spec, compiler),
        #[cfg(feature = "http")]
        KindSpec::Http(spec) => super::http::build(&format!("{place}.http"), spec, host, compiler),
        #[cfg(feature = "lambda")]
        KindSpec::Lambda(spec) => super::lambda::build(&format!("{place}.lambda"), spec, host, compiler),
        #[cfg(all(feature = "container", unix))]
        KindSpec::Container(spec) => {
            super::container::build(&format!("{place}.container"), name, common, spec, compiler)
        }
        #[cfg(not(all(
            feature = "script",
            target_os = "linux",
            feature = "http",
            feature = "lambda",
            feature = "container",
            unix
        )))]
        other => {
            let kind = match other {
                KindSpec::Script(_) => "script",
                KindSpec::Http(_) => "http",
                KindSpec::Lambda(_) => "lambda",
                KindSpec::Container(_) => "container",
            };
            compiler.note(
                format!("{place}.{kind}"),
                format!("this program is built without it; build it with the feature `{kind}`"),
            );
            None
        }
    }
}
