//! From names to addresses.

use std::{fmt, io, net::IpAddr};

use futures::future::BoxFuture;

/// Resolves names. Asked once for each request; whatever it answers is judged by the guard, and the connection goes to
/// an address that was judged.
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `host`, in order of preference.
    ///
    /// # Errors
    /// When the name has none, or nobody answers.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}
