//! Whom the daemon believes to be the `https` worker that it calls.

use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::tls;

/// The settings of TLS towards workers. Trusted are the certificates of the system, among them
/// those of a company's own authority, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Where the
/// system has none, as in a bare container, those that Mozilla trusts. Reads files.
pub fn system_trust() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!("cannot read a certificate of the system: {error}");
    }
    if found.certs.is_empty() {
        return trusting(RootCerts::WebPki);
    }
    let certificates = found.certs.iter().map(|found| Certificate::from_der(found).to_owned());
    trusting(RootCerts::from(certificates))
}

/// The settings of TLS with these certificates as roots.
pub fn trusting(roots: RootCerts) -> TlsConfig {
    let builder = TlsConfig::builder().root_certs(roots);
    builder.unversioned_rustls_crypto_provider(tls::crypto_provider()).build()
}
