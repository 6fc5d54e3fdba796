//! Sites in the spec: what is served under which names, from which server.

use super::{
    Elsewhere, SecretRef, ServerName, ServerSpec, SiteName, SpecContext, Value, ZoneSpec,
    fault::{Fault, Problem, nearest, quote},
    grammar::{none, null},
    rules,
    shape::{
        Choice, Field,
        Presence::{Default, Required},
        Shape, Text,
    },
    walk::Found,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::PathBuf,
};

/// The app that a server needs to serve sites. It brings those that it depends on.
pub const SITE_APP: &str = "traefik";

/// What one site shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSpec {
    /// Its name.
    pub name: SiteName,
    /// The server that it runs on: a manager of its swarm.
    pub server: ServerName,
    /// Names that it answers to, at least one. The first one is canonical, and no wildcard; the others redirect to it.
    pub domains: Vec<Domain>,
    /// Zones that its domains lie in, where records are made for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<ZoneSpec>,
    /// The certificate for those of its domains that lie in zones; `None`: none is ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SiteCertificate>,
    /// What is served.
    pub source: SiteSource,
    /// Port that the program listens on, in its container.
    pub port: u16,
    /// When it counts as up.
    pub health: SiteHealth,
    /// How many copies run.
    pub replicas: u16,
    /// Environment, which anybody may read who may look at the server.
    pub env: BTreeMap<String, String>,
    /// Secrets, each a file of this name under `/run/secrets`.
    pub secrets: BTreeMap<String, SecretRef>,
    /// Program and arguments that run once in the new image before a release starts; empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deploy_before: Vec<String>,
    /// The same once a release serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deploy_after: Vec<String>,
}

impl SiteSpec {
    /// The domain that the others redirect to.
    pub fn canonical(&self) -> &Domain {
        &self.domains[0]
    }
}

/// A host name in lower case, or `*.` and one: all names that have one label more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Domain(String);

impl Domain {
    /// As it stands in the spec.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a wildcard's names end with, without the dot; `None`: it is one name.
    pub fn below(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a site's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteCertificate {
    /// ACME directory of the authority; `https`.
    pub authority: String,
    /// Certificates in PEM that the authority's own HTTPS is held against; `None`: those that this machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The kind, in the authority's word; `None`: its usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// Words for authorities, with their directories (<https://letsencrypt.org/docs/staging-environment/>).
const AUTHORITIES: [(&str, &str); 2] = [
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
];

/// What a site serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteSource {
    /// A container image: a name that a registry or the server itself knows, with a tag or a digest; or an id.
    Image(String),
    /// A folder of this machine with a Dockerfile, of which an image is built on the server.
    Build(PathBuf),
}

/// When a site counts as up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteHealth {
    /// What is asked for, and must answer with 2xx or 3xx; `None`: `/`, and anything but 5xx will do.
    pub path: Option<String>,
    /// Seconds that a new release has, from its start until it answers.
    pub within: u32,
}

/// `sites.NAME`
pub(super) fn shape() -> Shape {
    let domains = Shape::List(Box::new(Shape::Text(domain())));
    let source = Shape::object(vec![
        Field::new(
            "image",
            Shape::Text(image()),
            null(),
            "Container image: `registry.example.org/shop:1.2`, best with its digest (`…@sha256:…`), or one that is on the server",
        ),
        Field::new(
            "build",
            Shape::Text(Text::any("the path of a folder")),
            null(),
            "A folder with a `Dockerfile`, from this file's folder; it is sent to the server and built there, without what its `.dockerignore` names",
        ),
    ]);
    let profiles = ["classic", "tlsserver", "shortlived"].map(|word| Choice::new(word, ""));
    let certificate = Shape::object(vec![
        Field::new(
            "authority",
            Shape::Text(authority()),
            Default(Value::String("letsencrypt".into())),
            "`letsencrypt`; `staging`, for trying things: nobody trusts its certificates; or the URL of an ACME directory",
        ),
        Field::new(
            "root",
            Shape::Text(Text::any("the path of a file")),
            null(),
            "Of an authority of your own: what its HTTPS is held against, in PEM",
        ),
        Field::new(
            "profile",
            Shape::Choice(profiles.into()),
            null(),
            "Which kind of certificate; without it, the authority's usual one",
        ),
    ]);
    let health = Shape::object(vec![
        Field::new(
            "path",
            Shape::Text(path()),
            null(),
            "What must answer with 2xx or 3xx; without it, `/` must answer with anything but 5xx",
        ),
        Field::new(
            "within",
            Shape::Int { min: 5, max: 3600 },
            Default(Value::Int(60)),
            "Seconds that a new release has until it answers; then it is given up, and the old one stays",
        ),
    ]);
    let value =
        Shape::Either(vec![Shape::Text(Text::any("a text")), Shape::Int { min: i64::MIN, max: i64::MAX }, Shape::Bool]);
    let map = |value| Shape::Map { key: variable(), value: Box::new(value) };
    let empty = || Default(Value::Map(BTreeMap::new()));
    Shape::object(vec![
        Field::new(
            "server",
            Shape::Text(rules::server_name()),
            Required,
            "The server that it runs on, which has the app `traefik`; in this file, or one that Ostler knows already",
        ),
        Field::new(
            "domains",
            domains,
            Required,
            "Names that it answers to; the first one is canonical, and the others redirect to it. `*.example.com` is all names below",
        ),
        Field::new(
            "certificate",
            Shape::Either(vec![Shape::Bool, certificate]),
            Default(Value::Bool(true)),
            "The certificate for those domains that lie in zones of `dns`, or `false`: you see to it yourself",
        ),
        Field::new("source", source, Required, "What is served: one of `image` and `build`"),
        Field::new(
            "port",
            Shape::Int { min: 1, max: 65535 },
            Required,
            "Port that the program listens on in its container",
        ),
        Field::new("health", health, empty(), "When it counts as up"),
        Field::new("replicas", Shape::Int { min: 1, max: 100 }, Default(Value::Int(1)), "How many copies run"),
        Field::new("env", map(value), empty(), "Environment of the program; nothing secret"),
        Field::new(
            "secrets",
            map(Shape::Secret),
            empty(),
            "Secrets; each is a file `/run/secrets/NAME` for the program, and `NAME_FILE` in its environment says so",
        ),
        Field::new(
            "deploy_before",
            command(),
            none(),
            "Program and arguments that run once in the new image, before a new release starts; where it fails, nothing is changed",
        ),
        Field::new(
            "deploy_after",
            command(),
            none(),
            "The same once the new release serves; where it fails, that release serves on, and the exit code says so",
        ),
    ])
}

/// A key under `sites`.
pub(super) fn name() -> Text {
    Text::checked("the name of a site", Some("^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"), |text| {
        SiteName::parse(text).map(drop).map_err(|_| {
            Problem::new(format!("{} is not the name of a site", quote(text)))
                .hint("1 to 40 of a-z, 0-9 and `-`; it can't begin or end with `-`")
        })
    })
}

fn domain() -> Text {
    Text::checked("a domain", Some(r"^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+$"), |text| {
        let host = text.strip_prefix("*.").unwrap_or(text);
        let is_host = (rules::domain().check.expect("it has one"))(host).is_ok();
        match is_host && host.contains('.') && !host.contains(|c: char| c.is_ascii_uppercase()) {
            true => Ok(()),
            false => Err(Problem::new(format!("{} is not a domain that a site can have", quote(text)))
                .hint("in lower case, such as `shop.example.com` or `*.shop.example.com`")),
        }
    })
}

fn authority() -> Text {
    Text::checked("an authority", None, |text| {
        let is_url = text.starts_with("https://")
            && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "@#".contains(c));
        match is_url || AUTHORITIES.iter().any(|(word, _)| *word == text) {
            true => Ok(()),
            false => Err(Problem::new(format!("{} is not an authority for certificates", quote(text)))
                .hint("`letsencrypt`, `staging`, or the `https://` URL of an ACME directory")),
        }
    })
}

fn image() -> Text {
    Text::checked("a container image", None, |text| {
        let bad = |c: char| !(c.is_ascii_alphanumeric() || "._-/:@".contains(c));
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        let is_digest = |digest: &str| {
            digest
                .strip_prefix("sha256:")
                .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        };
        if text.len() > 255 || text.contains(bad) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(Problem::new(format!("{} is not a container image", quote(text)))
                .hint("for example `registry.example.org/shop:1.2`"));
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(Problem::new(format!("{} is no digest", quote(digest.unwrap_or_default())))
                .hint("`sha256:` and 64 hexadecimal digits"));
        }
        Ok(())
    })
}

fn path() -> Text {
    Text::checked("a path such as `/up`", Some("^/[^ #]*$"), |text| {
        let bad = |c: char| !c.is_ascii_graphic() || "#`\"\\".contains(c);
        match text.starts_with('/') && !text.contains(bad) {
            true => Ok(()),
            false => Err(Problem::new(format!("{} is not a path", quote(text))).hint("for example `/up`")),
        }
    })
}

/// Program and arguments, without a shell.
fn command() -> Shape {
    Shape::List(Box::new(Shape::Text(Text::checked("a word of a command", None, |text| match text.contains('\0') {
        true => Err(Problem::new(format!("{} is not a word of a command", quote(text)))),
        false => Ok(()),
    }))))
}

/// The name of a variable of the environment, and of a file beside others.
fn variable() -> Text {
    Text::checked("the name of a variable", Some("^[A-Za-z_][A-Za-z0-9_]{0,99}$"), |text| {
        let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        match first && text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            true => Ok(()),
            false => Err(Problem::new(format!("{} is not the name of a variable", quote(text)))
                .hint("for example `APP_ENV`: letters, digits and `_`")),
        }
    })
}

/// The sites of a file, where none is at fault. `servers` are those of the file, each with what it became.
pub(super) fn read(
    root: &Found,
    servers: &[(&str, Option<&ServerSpec>)],
    zones: &[&ZoneSpec],
    apps_are_known: bool,
    context: &SpecContext<'_>,
    faults: &mut Vec<Fault>,
) -> (Option<Vec<SiteSpec>>, Vec<Elsewhere>) {
    let mut reader =
        Reader { servers, zones, apps_are_known, context, faults, claimed: HashMap::new(), elsewhere: Vec::new() };
    let entries = root.get("sites").and_then(Found::map).unwrap_or_default();
    let sites: Vec<_> = entries.iter().map(|(name, found)| reader.site(name, found)).collect();
    (sites.into_iter().collect(), reader.elsewhere)
}

struct Reader<'a> {
    servers: &'a [(&'a str, Option<&'a ServerSpec>)],
    zones: &'a [&'a ZoneSpec],
    /// Without a catalog nobody knows what apps bring with them.
    apps_are_known: bool,
    context: &'a SpecContext<'a>,
    faults: &'a mut Vec<Fault>,
    /// Domains, with the site and the line that claimed each.
    claimed: HashMap<String, (String, usize)>,
    elsewhere: Vec<Elsewhere>,
}

impl Reader<'_> {
    fn site(&mut self, name: &str, found: &Found) -> Option<SiteSpec> {
        let server = found.get("server").and_then(|server| self.server(server));
        let domains = found.get("domains").and_then(|domains| self.domains(name, domains));
        let source = found.get("source").and_then(|source| self.source(source));
        let env = found.get("env").and_then(|env| self.env(env));
        let secrets = found.get("secrets").and_then(|secrets| {
            let entries = secrets.map()?.iter();
            let read =
                entries.map(|(key, found)| Some((key.clone(), found.secret(&|path| self.context.resolve(path))?)));
            read.collect::<Option<BTreeMap<_, _>>>()
        });
        if let (Some(env), Some(secrets)) = (found.get("env"), &secrets) {
            for key in secrets.keys() {
                if let Some(taken) = env.get(&format!("{key}_FILE")) {
                    let problem = Problem::new(format!("it says where the secret `{key}` is, and Ostler sets it"));
                    self.faults.push(taken.fault(problem.hint("take it out")));
                }
            }
        }
        let health = found.get("health")?;
        let command = |key: &str| {
            let words = found.get(key)?.list()?.iter();
            words.map(|word| Some(word.text()?.to_owned())).collect::<Option<Vec<_>>>()
        };
        let (deploy_before, deploy_after) = (command("deploy_before"), command("deploy_after"));
        let certificate = found.get("certificate").and_then(|certificate| self.certificate(certificate))?;
        Some(SiteSpec {
            name: SiteName::parse(name).ok()?,
            server: server?,
            zones: self.zones_of(domains.as_ref()?),
            domains: domains?,
            certificate,
            source: source?,
            port: found.get("port")?.int()?.try_into().ok()?,
            health: SiteHealth {
                path: health.get("path")?.text().map(str::to_owned),
                within: health.get("within")?.int()?.try_into().ok()?,
            },
            replicas: found.get("replicas")?.int()?.try_into().ok()?,
            env: env?,
            secrets: secrets?,
            deploy_before: deploy_before?,
            deploy_after: deploy_after?,
        })
    }

    fn server(&mut self, found: &Found) -> Option<ServerName> {
        let name = found.text()?;
        let server = ServerName::parse(name).ok()?;
        let lacks = |name: &str| {
            found.fault(
                Problem::new(format!(
                    "{} does not have the app `{SITE_APP}`, which brings requests to sites",
                    quote(name)
                ))
                .hint(format!("add `{SITE_APP}` to its `apps`; it brings Docker and Swarm")),
            )
        };
        match self.servers.iter().find(|(other, _)| *other == name) {
            None => {
                let problem =
                    Problem::new(format!("there is no server {}, neither in this file nor on record", quote(name)));
                let others = self.servers.iter().map(|(other, _)| *other);
                let fault = found.fault(problem.hints(nearest(name, others)));
                self.elsewhere.push(Elsewhere { server: server.clone(), fault, needs: Some((SITE_APP, lacks(name))) });
            }
            Some((_, Some(spec))) if self.apps_are_known && !spec.apps.iter().any(|app| app == SITE_APP) => {
                self.faults.push(lacks(name));
            }
            Some(_) => {}
        }
        Some(server)
    }

    fn domains(&mut self, site: &str, found: &Found) -> Option<Vec<Domain>> {
        let entries = found.list()?;
        match entries.first() {
            None => {
                let problem = Problem::new("a site without a domain is reached by nobody");
                self.faults.push(found.fault(problem.hint("for example `domains: [ shop.example.com ]`")));
            }
            Some(first) if first.text().is_some_and(|text| text.starts_with("*.")) => {
                let problem =
                    Problem::new("the first domain is the one that others redirect to, so it can't be a wildcard");
                self.faults.push(first.fault(problem.hint("put the site's own name first")));
            }
            Some(_) => {}
        }
        for entry in entries {
            let Some(domain) = entry.text() else { continue };
            if let Some((owner, line)) = self.claimed.get(domain) {
                let problem = match owner == site {
                    true => {
                        Problem::new(format!("{} stands here twice (line {line})", quote(domain))).hint("take one out")
                    }
                    false => {
                        Problem::new(format!("{} belongs to the site `{owner}` already (line {line})", quote(domain)))
                            .hint("one domain leads to one site: take it out of one of them")
                    }
                };
                self.faults.push(entry.fault(problem));
                continue;
            }
            self.claimed.insert(domain.to_owned(), (site.to_owned(), entry.at.line));
        }
        entries.iter().map(|entry| Some(Domain(entry.text()?.to_owned()))).collect()
    }

    /// Its outer half is `None` where it is at fault.
    fn certificate(&mut self, found: &Found) -> Option<Option<SiteCertificate>> {
        match found.bool() {
            Some(false) => return Some(None),
            Some(true) => {
                return Some(Some(SiteCertificate { authority: AUTHORITIES[0].1.into(), root: None, profile: None }));
            }
            None => {}
        }
        let (authority, root) = (found.get("authority")?.text()?, found.get("root")?);
        let url = AUTHORITIES.iter().find(|(word, _)| *word == authority).map_or(authority, |(_, url)| url);
        let pem = match root.text() {
            None => None,
            Some(path) => match (self.context.read_file)(&self.context.resolve(path)) {
                Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => Some(text),
                Ok(_) => {
                    let problem = Problem::new(format!("there is no certificate in {}", quote(path)));
                    self.faults.push(root.fault(problem.hint("it is to be in PEM")));
                    return None;
                }
                Err(error) => {
                    self.faults.push(root.fault(Problem::new(format!("{} can't be read: {error}", quote(path)))));
                    return None;
                }
            },
        };
        let profile = found.get("profile")?.text().map(str::to_owned);
        Some(Some(SiteCertificate { authority: url.to_owned(), root: pem, profile }))
    }

    fn zones_of(&self, domains: &[Domain]) -> Vec<ZoneSpec> {
        let holds = |zone: &ZoneSpec| domains.iter().any(|domain| zone.holds(domain.as_str()));
        self.zones.iter().filter(|zone| holds(zone)).map(|zone| (*zone).clone()).collect()
    }

    fn source(&mut self, found: &Found) -> Option<SiteSource> {
        let (image, build) = (found.get("image")?, found.get("build")?);
        match (image.is_null(), build.is_null()) {
            (false, true) => Some(SiteSource::Image(image.text()?.to_owned())),
            (true, false) => {
                let folder = self.context.resolve(build.text()?);
                if !(self.context.is_file)(&folder.join("Dockerfile")) {
                    let problem =
                        Problem::new(format!("there is no `Dockerfile` in {}", quote(&folder.to_string_lossy())));
                    self.faults.push(build.fault(problem.hint("name the folder that holds it")));
                }
                Some(SiteSource::Build(folder))
            }
            (image_is_missing, _) => {
                let problem = match image_is_missing {
                    true => Problem::new("it says nothing of what is served"),
                    false => Problem::new("a site has one source, and these are two"),
                };
                self.faults.push(found.fault(problem.hint("write `{ image: NAME }` or `{ build: FOLDER }`")));
                None
            }
        }
    }

    fn env(&self, found: &Found) -> Option<BTreeMap<String, String>> {
        let entries = found.map()?.iter();
        let value = |found: &Found| {
            let int = || found.int().map(|int| int.to_string());
            found.text().map(str::to_owned).or_else(int).or_else(|| found.bool().map(|bool| bool.to_string()))
        };
        entries.map(|(key, found)| Some((key.clone(), value(found)?))).collect()
    }
}
