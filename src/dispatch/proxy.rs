//! Which requests go through a proxy, as Go decides it: by `HTTP_PROXY`, `HTTPS_PROXY` and
//! `NO_PROXY`, in capitals or small letters, by the scheme of the URL that is requested.
//!
//! Pure but for a warning about a variable that cannot be used. The rules are those of Go's
//! package `golang.org/x/net/http/httpproxy`.

use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::HeaderValue;
use url::{Host, Url};

use super::target::basic_authorization;

/// The proxies of the environment.
#[derive(Default)]
pub struct Proxies {
    http: Option<ProxyServer>,
    https: Option<ProxyServer>,
    exceptions: Vec<Exception>,
}

/// One proxy.
pub struct ProxyServer {
    /// The proxy as `ureq` knows it.
    pub server: Proxy,
    /// The value of `Proxy-Authorization` for the requests that the proxy reads.
    pub authorization: Option<HeaderValue>,
}

/// An entry of `NO_PROXY`; one with a port is for that port only.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    /// `*`
    All,
    /// `10.0.0.0/8`
    Network(IpAddr, u8),
    /// `10.0.0.1`, `[::1]:80`
    Address(IpAddr, Option<u16>),
    /// `example.com` (and what ends with `.example.com`), `.example.com` (only the latter).
    Domain { suffix: String, itself: bool, port: Option<u16> },
}

impl Proxies {
    /// The proxies that `environment`, which tells a variable's value, sets.
    pub fn from_environment(environment: &dyn Fn(&str) -> Option<String>) -> Proxies {
        let variable = |name: &str| {
            let value = environment(name).filter(|value| !value.is_empty());
            value.or_else(|| environment(&name.to_lowercase())).filter(|value| !value.is_empty())
        };
        let server = |name: &str| {
            let value = variable(name)?;
            let server = ProxyServer::parse(&value);
            if server.is_none() {
                // Its value may hold a password.
                log::warn!("{name} is not the URL of an HTTP or SOCKS5 proxy, and is ignored");
            }
            server
        };
        let exceptions = variable("NO_PROXY").unwrap_or_default();
        Proxies {
            http: server("HTTP_PROXY"),
            https: server("HTTPS_PROXY"),
            exceptions: exceptions.split(',').filter_map(Exception::parse).collect(),
        }
    }

    /// The proxy through which `url` is requested, if any.
    pub fn for_url(&self, url: &Url) -> Option<&ProxyServer> {
        let server = if url.scheme() == "https" { &self.https } else { &self.http }.as_ref()?;
        let port = url.port_or_known_default();
        let (name, address) = match url.host()? {
            Host::Domain(name) => (name, None),
            Host::Ipv4(address) => ("", Some(IpAddr::V4(address))),
            Host::Ipv6(address) => ("", Some(IpAddr::V6(address))),
        };
        if name == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return None;
        }
        let is_exception = self.exceptions.iter().any(|entry| entry.matches(name, address, port));
        (!is_exception).then_some(server)
    }
}

impl ProxyServer {
    /// The proxy at a URL; without a scheme it is `http`.
    fn parse(text: &str) -> Option<ProxyServer> {
        let text = text.trim();
        let url = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("http://{text}")),
        };
        let url = url.ok().filter(Url::has_host)?;
        // As in Go, the SOCKS proxy gets the name and looks it up.
        let scheme = match url.scheme() {
            scheme @ ("http" | "https") => scheme,
            "socks5" | "socks5h" => "socks5h",
            _ => return None,
        };
        let rest = url.as_str().strip_prefix(url.scheme())?;
        let server = Proxy::new(&format!("{scheme}{rest}")).ok()?;
        let authorization = basic_authorization(&url).filter(|_| scheme != "socks5h");
        Some(ProxyServer { server, authorization })
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Exception> {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return Some(Exception::All);
        }
        if let Some((address, bits)) = entry.split_once('/')
            && let (Ok(address), Ok(bits)) = (address.parse(), bits.parse())
        {
            return Some(Exception::Network(address, bits));
        }
        let (host, port) = split_port(&entry);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = host.parse() {
            return Some(Exception::Address(address, port));
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        match host.strip_prefix('.') {
            _ if host.is_empty() => None,
            Some(_) => Some(Exception::Domain { suffix: host.into(), itself: false, port }),
            None => Some(Exception::Domain { suffix: format!(".{host}"), itself: true, port }),
        }
    }

    /// Whether the entry is for a host, which has a name or an address, and its port.
    fn matches(&self, name: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let same_port = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match self {
            Exception::All => true,
            Exception::Network(network, bits) => {
                address.is_some_and(|address| is_within(address, *network, *bits))
            }
            Exception::Address(wanted, wanted_port) => {
                address == Some(*wanted) && same_port(wanted_port)
            }
            Exception::Domain { suffix, itself, port: wanted_port } => {
                let is_it = *itself && name == &suffix[1..];
                (is_it || name.ends_with(suffix.as_str())) && same_port(wanted_port)
            }
        }
    }
}

/// Splits `host:port`; an IPv6 address without brackets has no port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            port.parse().map_or((entry, None), |port| (host, Some(port)))
        }
        _ => (entry, None),
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let host_bits = 32_u32.checked_sub(bits.into());
            host_bits.is_some_and(|bits| {
                let differing = address.to_bits() ^ network.to_bits();
                differing.checked_shr(bits).unwrap_or(0) == 0
            })
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let host_bits = 128_u32.checked_sub(bits.into());
            host_bits.is_some_and(|bits| {
                let differing = address.to_bits() ^ network.to_bits();
                differing.checked_shr(bits).unwrap_or(0) == 0
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_environment(&|name| {
            variables.iter().find(|variable| variable.0 == name).map(|v| v.1.to_owned())
        })
    }

    /// The host of the proxy for `url`.
    fn chosen(proxies: &Proxies, url: &str) -> Option<String> {
        let server = proxies.for_url(&Url::parse(url).unwrap())?;
        Some(server.server.host().to_owned())
    }

    #[test]
    fn the_scheme_of_the_url_decides() {
        let both = proxies(&[("HTTP_PROXY", "http://a:1"), ("https_proxy", "b:2")]);
        assert_eq!(chosen(&both, "http://h/").as_deref(), Some("a"));
        assert_eq!(chosen(&both, "https://h/").as_deref(), Some("b"));
        let one = proxies(&[("http_proxy", "http://a:1"), ("ALL_PROXY", "http://c:1")]);
        assert_eq!(chosen(&one, "http://h/").as_deref(), Some("a"));
        assert_eq!(chosen(&one, "https://h/"), None);
        let capitals = proxies(&[("HTTP_PROXY", "a"), ("http_proxy", "b")]);
        assert_eq!(chosen(&capitals, "http://h/").as_deref(), Some("a"));
        let empty = proxies(&[("HTTP_PROXY", ""), ("http_proxy", "b")]);
        assert_eq!(chosen(&empty, "http://h/").as_deref(), Some("b"));
    }

    #[test]
    fn a_proxy_is_read_with_its_user() {
        let server = ProxyServer::parse("http://u:p%40@proxy.example:3128").unwrap();
        assert_eq!((server.server.host(), server.server.port()), ("proxy.example", 3128));
        assert_eq!(server.authorization.unwrap(), "Basic dTpwQA==");
        for (text, port) in [("proxy", 80), ("https://proxy", 443), ("socks5://proxy", 1080)] {
            let server = ProxyServer::parse(text).unwrap();
            assert_eq!((server.server.host(), server.server.port()), ("proxy", port), "{text}");
            assert!(!server.server.resolve_target());
        }
        for text in ["ftp://proxy", "http://", "socks4://proxy", "http://h h", "://"] {
            assert!(ProxyServer::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn no_proxy_for_this_host() {
        let proxies = proxies(&[("HTTP_PROXY", "http://a:1")]);
        for url in
            ["http://localhost/", "http://127.0.0.1:8/", "http://127.9.9.9/", "http://[::1]/"]
        {
            assert_eq!(chosen(&proxies, url), None, "{url}");
        }
        assert!(chosen(&proxies, "http://localhost.example/").is_some());
    }

    #[test]
    fn exceptions_go_direct() {
        for (exceptions, url, direct) in [
            ("*", "http://h/", true),
            ("example.com", "http://example.com/", true),
            ("example.com", "http://Sub.Example.COM/", true),
            ("example.com", "http://badexample.com/", false),
            (".example.com", "http://example.com/", false),
            (".example.com", "http://sub.example.com/", true),
            ("*.example.com", "http://sub.example.com/", true),
            ("*.example.com", "http://example.com/", false),
            ("a, example.com:81 ,b", "http://example.com:81/", true),
            ("a,example.com:81,b", "http://example.com/", false),
            ("example.com:80", "http://example.com/", true),
            ("10.1.2.3", "http://10.1.2.3/", true),
            ("10.1.2.3:8", "http://10.1.2.3/", false),
            ("10.1.2.3:8", "http://10.1.2.3:8/", true),
            ("10.1.0.0/16", "http://10.1.2.3/", true),
            ("10.1.0.0/16", "http://10.2.2.3/", false),
            ("0.0.0.0/0", "http://10.2.2.3/", true),
            ("10.1.0.0/33", "http://10.1.0.0/", false),
            ("fd00::/8", "http://[fd12::1]/", true),
            ("fd00::/8", "http://[fe80::1]/", false),
            ("::/0", "http://[fe80::1]/", true),
            ("fd12::1", "http://[fd12::1]/", true),
            ("[fd12::1]:80", "http://[fd12::1]/", true),
            ("[fd12::1]:81", "http://[fd12::1]/", false),
            ("1.2.3", "http://0.1.2.3/", false),
            (",, ,.", "http://h/", false),
            (":80", "http://h/", false),
        ] {
            let proxies = proxies(&[("HTTP_PROXY", "http://a:1"), ("no_proxy", exceptions)]);
            assert_eq!(chosen(&proxies, url).is_none(), direct, "{exceptions:?} {url}");
        }
    }
}
