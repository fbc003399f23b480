//! What all of the daemon's TLS has in common: one provider of cryptography, *ring*.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;

/// The process's provider of cryptography. Whoever makes the first TLS connection, to a worker
/// or to a database, calls this before, so that no library has to guess one.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Arc::clone(provider);
    }
    // Another thread may have been faster, which is as good.
    let _ = default_provider().install_default();
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(default_provider()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_provider_for_the_process() {
        assert!(Arc::ptr_eq(&crypto_provider(), &crypto_provider()));
    }
}
