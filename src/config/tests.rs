use super::*;

fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Box<Settings>, ConfigError> {
    let environment = |name: &str| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_owned());
    match parse(arguments.iter().map(Into::into), &environment)? {
        Command::Run(settings) => Ok(settings),
        _ => panic!("not asked to run"),
    }
}

fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    match run_with(arguments, variables) {
        Ok(_) => panic!("{arguments:?} {variables:?} is taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_default_parses() {
    let settings = run_with(&[], &[]).unwrap();
    assert_eq!(settings.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.shown().count(), TABLE.len());
}

#[test]
fn flags_are_written_as_go_allows() {
    for arguments in [
        &["--queue-default", "x"][..],
        &["--queue-default=x"],
        &["-queue-default", "x"],
        &["-queue-default=x"],
    ] {
        assert_eq!(run_with(arguments, &[]).unwrap().queue_default, "x", "{arguments:?}");
    }
    assert_eq!(run_with(&["--queue-default", "-a=b"], &[]).unwrap().queue_default, "-a=b");
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let variables = [("FIREWORQ_BIND", "a:1"), ("FIREWORQ_PID", "")];
    assert_eq!(run_with(&[], &variables).unwrap().bind.to_string(), "a:1");
    assert_eq!(run_with(&["--bind", "b:2"], &variables).unwrap().bind.to_string(), "b:2");
    assert_eq!(run_with(&[], &[("FIREWORQ_BIND", "")]).unwrap().bind.to_string(), "127.0.0.1:8080");
}

#[test]
fn an_address_to_listen_on_is_read() {
    let bind = |text: &str| run_with(&["--bind", text], &[]).unwrap().bind;
    for (text, host, port) in [
        (":0", "", 0),
        ("localhost:80", "localhost", 80),
        ("[::1]:8080", "::1", 8080),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
    ] {
        let read = bind(text);
        assert_eq!((read.host.as_str(), read.port), (host, port));
        assert_eq!(read.to_string(), text);
    }
    for text in ["nonsense", "localhost:", "localhost:65536", "localhost:http", "::1:80"] {
        let said = refused(&["--bind", text], &[]);
        assert!(said.contains("bind"), "{said}");
    }
}

#[test]
fn defaults_follow_other_settings() {
    let none = run_with(&[], &[]).unwrap();
    assert_eq!((none.driver, none.queue_default.as_str()), (Driver::Sqlite, "default"));
    for name in ["mysql-dsn", "repository-mysql-dsn", "queue-mysql-dsn"] {
        let given = run_with(&[&format!("--{name}"), "/db"], &[]).unwrap();
        assert_eq!((given.driver, given.queue_default.as_str()), (Driver::Mysql, ""), "{name}");
    }
    let named = run_with(&["--driver", "MySQL"], &[]).unwrap();
    assert_eq!((named.driver, named.queue_default.as_str()), (Driver::Mysql, ""));
    assert!(!run_with(&["--keep-alive", "f"], &[]).unwrap().dispatch_keep_alive);
    assert!(
        run_with(&["--keep-alive=0", "--dispatch-keep-alive=ON"], &[]).unwrap().dispatch_keep_alive
    );
    assert_eq!(none.error_log_level, Level::Info);
    assert_eq!(run_with(&[], &[("DEBUG", "1")]).unwrap().queue_log_level, Level::Debug);
}

#[test]
fn what_does_not_parse_is_named() {
    let message = refused(&["--shutdown-timeout", "-1"], &[]);
    assert_eq!(message, r#"--shutdown-timeout: "-1" is not a whole number from 0 to 4294967295"#);
    let message = refused(&[], &[("FIREWORQ_KEEP_ALIVE", "maybe")]);
    assert!(message.starts_with(r#"FIREWORQ_KEEP_ALIVE: "maybe" is not a boolean"#), "{message}");
    assert!(refused(&["--driver=oracle"], &[]).contains("a driver (mysql, sqlite, in-memory)"));
    assert!(refused(&["--error-log-level=loud"], &[]).contains("is not a level"));
    assert!(refused(&["--nothing=1"], &[]).contains("there is no flag --nothing"));
    assert!(refused(&["stray"], &[]).contains("unexpected argument"));
    assert!(refused(&["--bind"], &[]).contains("missing argument"));
    assert!(refused(&["--version=1"], &[]).contains("takes no value"));
    for text in ["", "+1", "1e3", "5000000000", "0x10", " 1"] {
        refused(&[&format!("--shutdown-timeout={text}")], &[]);
    }
}

#[test]
fn levels_and_booleans_have_many_spellings() {
    for (text, level) in
        [("DEBUG", Level::Debug), ("1", Level::Info), ("Warning", Level::Warn), ("4", Level::Fatal)]
    {
        assert_eq!(Level::parse(text), Ok(level));
    }
    for text in ["TRUE", "1", "T", "Yes", "on"] {
        assert_eq!(bool::parse(text), Ok(true));
    }
    for text in ["False", "0", "f", "NO", "off"] {
        assert_eq!(bool::parse(text), Ok(false));
    }
}

#[test]
fn passwords_are_masked() {
    for (dsn, shown) in [
        ("user:secret@tcp(h:1)/db", "user:***@tcp(h:1)/db"),
        ("user:se:c/r@e@t@tcp(h:1)/db?tls=true", "user:***@tcp(h:1)/db?tls=true"),
        ("user@tcp(h)/db", "user@tcp(h)/db"),
        ("tcp(h)/db", "tcp(h)/db"),
        ("user:secret@", "user:***@"),
        ("", ""),
    ] {
        assert_eq!(mask_password(dsn), shown);
        let settings = run_with(&["--mysql-dsn", dsn], &[]).unwrap();
        assert_eq!(settings.shown().find(|s| s.0 == "mysql_dsn").unwrap().1, shown);
    }
}

#[test]
fn help_and_docs_name_every_setting() {
    for setting in TABLE {
        assert!(help().contains(&format!("--{} ", setting.flag())));
        assert!(markdown().contains(&format!("| `{}` |", setting.name)));
    }
    assert!(help().lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn commands_need_no_settings() {
    let environment = |_: &str| None;
    for (flag, expected) in [
        ("-v", "version"),
        ("--version", "version"),
        ("-h", "help"),
        ("-help", "help"),
        ("--license", "license"),
        ("--credits", "credits"),
    ] {
        let command = match parse([flag.into()], &environment).unwrap() {
            Command::Version => "version",
            Command::Help => "help",
            Command::License => "license",
            Command::Credits => "credits",
            Command::Run(_) | Command::Copy { .. } => "another",
        };
        assert_eq!(command, expected);
    }
}

#[test]
fn a_copy_names_two_places() {
    let environment = |name: &str| (name == "FIREWORQ_MYSQL_DSN").then(|| "tcp(h)/env".to_owned());
    let parse = |arguments: &[&str]| parse(arguments.iter().map(Into::into), &environment);
    let places = |arguments: &[&str]| match parse(arguments) {
        Ok(Command::Copy { from, to }) => (from, to),
        _ => panic!("{arguments:?} is no copy"),
    };
    let (from, to) = places(&["copy", "--from", "sqlite:a b.db", "--to=mysql:u:p@tcp(h:1)/db"]);
    assert_eq!((from.driver, from.sqlite_path.as_str()), (Driver::Sqlite, "a b.db"));
    assert_eq!((to.driver, to.queue_dsn()), (Driver::Mysql, "u:p@tcp(h:1)/db"));
    assert_eq!(to.repository_dsn(), "u:p@tcp(h:1)/db");
    assert_eq!(places(&["copy", "--from=mysql:", "--to=sqlite:x"]).0.queue_dsn(), "tcp(h)/env");
    for arguments in [
        &["copy"][..],
        &["copy", "--from=sqlite:x"],
        &["copy", "--from=sqlite:x", "--to=oracle:y"],
        &["copy", "--from=sqlite:x", "--to=mysql:/d", "--bind=x"],
    ] {
        assert!(parse(arguments).is_err(), "{arguments:?}");
    }
}
