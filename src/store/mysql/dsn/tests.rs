use super::*;

fn parse(text: &str) -> Dsn {
    Dsn::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp(host.into(), port)
}

fn unix(path: &str) -> Address {
    Address::Unix(path.into())
}

#[test]
fn the_parts_are_split_as_in_go() {
    for (text, user, password, address, database) in [
        ("/db", "", "", tcp("127.0.0.1", 3306), "db"),
        ("@/db", "", "", tcp("127.0.0.1", 3306), "db"),
        ("user@/db", "user", "", tcp("127.0.0.1", 3306), "db"),
        ("user:@/db", "user", "", tcp("127.0.0.1", 3306), "db"),
        ("user:password@/db", "user", "password", tcp("127.0.0.1", 3306), "db"),
        ("tcp/db", "", "", tcp("127.0.0.1", 3306), "db"),
        ("tcp()/db", "", "", tcp("127.0.0.1", 3306), "db"),
        ("tcp(h)/db", "", "", tcp("h", 3306), "db"),
        ("tcp(h:)/db", "", "", tcp("h", 3306), "db"),
        ("tcp(:3307)/db", "", "", tcp("127.0.0.1", 3307), "db"),
        ("tcp(localhost:3306)/fireworq", "", "", tcp("localhost", 3306), "fireworq"),
        ("u:p@tcp(10.0.0.5:3307)/db", "u", "p", tcp("10.0.0.5", 3307), "db"),
        ("u:p@tcp([::1]:3306)/db", "u", "p", tcp("::1", 3306), "db"),
        ("u:p@tcp([fe80::1%25lo])/db", "u", "p", tcp("fe80::1%25lo", 3306), "db"),
        ("u:p@tcp(::1)/db", "u", "p", tcp("::1", 3306), "db"),
        ("u:p@unix(/run/mysqld/mysqld.sock)/db", "u", "p", unix("/run/mysqld/mysqld.sock"), "db"),
        ("u:p@unix/db", "u", "p", unix("/tmp/mysql.sock"), "db"),
        ("u@unix()/db", "u", "", unix("/tmp/mysql.sock"), "db"),
        // A password may hold any character.
        ("u:p@s:s/w?o=r&d@tcp(h:1)/db", "u", "p@s:s/w?o=r&d", tcp("h", 1), "db"),
        ("u:p(x)@tcp(h:1)/db", "u", "p(x)", tcp("h", 1), "db"),
        ("u:@@/db", "u", "@", tcp("127.0.0.1", 3306), "db"),
        ("u:/@/db", "u", "/", tcp("127.0.0.1", 3306), "db"),
        ("u:%41@/db", "u", "%41", tcp("127.0.0.1", 3306), "db"),
        // The database's name is decoded; a value may hold a slash that was not encoded.
        ("/my%2Fdb", "", "", tcp("127.0.0.1", 3306), "my/db"),
        ("u:p@tcp(h)/db?loc=Asia/Tokyo", "u", "p", tcp("h", 3306), "db"),
        ("/db?", "", "", tcp("127.0.0.1", 3306), "db"),
    ] {
        let dsn = parse(text);
        let parts = (dsn.user.as_str(), dsn.password.as_str(), dsn.address, dsn.database.as_str());
        assert_eq!(parts, (user, password, address, database), "{text}");
    }
}

#[test]
fn what_is_no_dsn_is_refused_without_telling_the_password() {
    for text in [
        "",
        "secret",
        "user:secret",
        "/",
        "/?tls=true",
        "user:secret@tcp(h:1)/",
        "user:secret@tcp(h:1/db",
        "user:secret@udp(h:1)/db",
        "user:secret@(h:1)/db",
        "user:secret/db",
        "user:secret@h:1/db",
        "user:secret@tcp(h:x)/db",
        "user:secret@tcp(h:0)/db",
        "user:secret@tcp(h:65536)/db",
        "user:secret@tcp([::1)/db",
        "user:secret@tcp([::1]3306)/db",
        "user:secret@/db?timeout=5",
        "user:secret@/db?readTimeout=-5s",
        "user:secret@/db?writeTimeout=5x",
        "user:secret@/db?timeout=",
        "user:secret@/db?timeout=.s",
        "user:secret@/db?tls=maybe",
        "user:secret@/db?parseTime=perhaps",
        "user:secret@/db?maxAllowedPacket=16M",
        "user:secret@/db?sql_mode=%FF",
    ] {
        let error = Dsn::parse(text).err().unwrap_or_else(|| panic!("{text} was accepted"));
        assert!(!error.to_string().contains("secret"), "{text}: {error}");
    }
}

#[test]
fn options_are_understood() {
    let options = parse(
        "/db?timeout=1m30s&readTimeout=1.5s&writeTimeout=500ms&tls=skip-verify\
         &maxAllowedPacket=4194304&charset=utf8mb4,utf8&collation=utf8mb4_bin\
         &allowCleartextPasswords=1&serverPubKey=%2Fetc%2Fkey.pem",
    )
    .options;
    assert_eq!(
        options,
        Options {
            timeout: Some(Duration::from_secs(90)),
            read_timeout: Some(Duration::from_millis(1500)),
            write_timeout: Some(Duration::from_millis(500)),
            tls: Tls::Unverified,
            max_allowed_packet: Some(4_194_304),
            charset: Some("utf8mb4".into()),
            collation: Some("utf8mb4_bin".into()),
            allow_cleartext_passwords: true,
            server_public_key: Some("/etc/key.pem".into()),
            session_variables: Vec::new(),
        }
    );
}

#[test]
fn options_without_a_meaning_here_are_accepted() {
    let text = "/db?parseTime=true&loc=Asia%2FTokyo&interpolateParams=1&clientFoundRows=FALSE\
                &multiStatements=0&allowNativePasswords=true&allowOldPasswords=false\
                &allowAllFiles=0&checkConnLiveness=1&columnsWithAlias=1&rejectReadOnly=true\
                &timeout=0&maxAllowedPacket=0&charset=&collation=&no-value&&=x";
    assert_eq!(parse(text).options, Options::default());
}

#[test]
fn other_options_are_session_variables() {
    let dsn = parse("/db?sql_mode=%27ANSI%27&time_zone=%27Asia%2fTokyo%27&a=1+2&sql_mode='x=y'");
    let variables: Vec<(&str, &str)> = dsn
        .options
        .session_variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        variables,
        [
            ("sql_mode", "'ANSI'"),
            ("time_zone", "'Asia/Tokyo'"),
            ("a", "1 2"),
            ("sql_mode", "'x=y'"),
        ]
    );
}

#[test]
fn tls_has_four_modes() {
    for (text, tls) in [
        ("/db", Tls::Off),
        ("/db?tls=false", Tls::Off),
        ("/db?tls=0", Tls::Off),
        ("/db?tls=true", Tls::Verified),
        ("/db?tls=1", Tls::Verified),
        ("/db?tls=Skip-Verify", Tls::Unverified),
        ("/db?tls=preferred", Tls::Preferred),
    ] {
        assert_eq!(parse(text).options.tls, tls, "{text}");
    }
}

#[test]
fn durations_are_those_of_go() {
    for (text, millis) in [
        ("0", 0),
        ("0s", 0),
        ("5s", 5_000),
        ("+5s", 5_000),
        ("500ms", 500),
        ("1.5s", 1_500),
        (".5s", 500),
        ("1h2m3s", 3_723_000),
        ("2000us", 2),
        ("2000µs", 2),
        ("3000000ns", 3),
    ] {
        let duration = parse_duration(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(duration.as_millis(), millis, "{text}");
    }
    for text in ["", "+", "5", "s", "5 s", "-5s", "1.2.3s", "5s3", "1e400h"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn what_is_shown_holds_no_password() {
    for (text, shown) in [
        ("u:secret@tcp(h:1)/db?sql_mode='secret'", "u@h:1/db"),
        ("u:secret@tcp([::1]:1)/db", "u@[::1]:1/db"),
        ("u:secret@unix(/s)/db", "u@unix(/s)/db"),
        ("/db", "127.0.0.1:3306/db"),
    ] {
        assert_eq!(parse(text).to_string(), shown);
        assert_eq!(format!("{:?}", parse(text)), format!("Dsn({shown})"));
    }
}

#[test]
fn no_text_that_is_given_makes_a_dsn_show_its_password() {
    const PASSWORD: &str = "S3cr3tPW";
    let corpus: [&[u8]; 9] = [
        b"tcp(127.0.0.1:3306)/db?timeout=5s&tls=skip-verify&charset=utf8mb4,utf8",
        b"tcp([::1]:3306)/db?readTimeout=500ms&writeTimeout=1m30s&parseTime=true&loc=UTC",
        b"unix(/run/mysqld/mysqld.sock)/db",
        b"/db?sql_mode=%27ANSI%27&maxAllowedPacket=0&allowNativePasswords=1",
        b"tcp(host)/a%2fb?collation=utf8mb4_bin&wait_timeout=3&x",
        b"tcp(h:99999)/db?timeout=-1h1us0.5ns",
        b"udp(h)/",
        b"tcp(h/db",
        b"p:q@r@tcp(h)/d/b?tls=perhaps",
    ];
    crate::fuzz::run(&corpus, |tail, _| {
        let text = format!("user:{PASSWORD}@{}", String::from_utf8_lossy(tail));
        let (shown, word) = match Dsn::parse(&text) {
            Ok(dsn) => {
                assert!(dsn.password.starts_with(PASSWORD), "{text}");
                assert!(!dsn.database.is_empty(), "{text}");
                let word =
                    format!("{:?} {:?}", std::mem::discriminant(&dsn.address), dsn.options.tls);
                (format!("{dsn} {dsn:?}"), word)
            }
            Err(error) => {
                (format!("{error} {error:?}"), error.to_string().chars().take(25).collect())
            }
        };
        assert!(!shown.contains(PASSWORD), "{text} is shown as {shown}");
        word
    });
}

#[test]
fn a_password_is_no_database() {
    for text in [
        "fw:top@/SECRET@foo(127.0.0.1)/x",
        "fw:top@/SECRET@127.0.0.1:3306/x",
        "fw:top@/SECRET@tcp(127.0.0.1:1/x",
    ] {
        let error = Dsn::parse(text).expect_err(text).0;
        assert!(error.contains("address") && !error.contains("SECRET"), "{error}");
    }
}
