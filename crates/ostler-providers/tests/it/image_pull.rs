//! Pulling, against a site that fails in every way that sites do.

use async_trait::async_trait;
use ostler_core::{
    Blame, Classify, Failure,
    event::{EventKind, ProgressUnit},
    ports::Reporter,
    spec::ImageRef,
};
use ostler_providers::image::{ImageError, ImageStore, Origin, Patience};
use ostler_testkit::image_site::{Fault, ImageSite};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

const FILE: &str = "trixie/latest/debian-13-genericcloud-amd64.qcow2";
const SUMS: &str = "trixie/latest/SHA512SUMS";
const NAME: &str = "debian-13";

/// Keeps what is reported.
#[derive(Default)]
struct Heard(Mutex<Vec<EventKind>>);

#[async_trait]
impl Reporter for Heard {
    async fn report(&self, kind: EventKind) {
        self.0.lock().unwrap().push(kind);
    }
}

impl Heard {
    fn notices(&self) -> Vec<String> {
        let notice = |kind: &EventKind| match kind {
            EventKind::Notice { message, .. } => Some(message.clone()),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(notice).collect()
    }

    fn progress(&self) -> Vec<(u64, Option<u64>)> {
        let progress = |kind: &EventKind| match kind {
            EventKind::Progress { done, total, unit: ProgressUnit::Bytes, .. } => Some((*done, *total)),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(progress).collect()
    }
}

/// A site with an image of 200,000 bytes, and an empty store.
struct Lab {
    site: ImageSite,
    dir: tempfile::TempDir,
    store: ImageStore,
    heard: Heard,
}

impl Lab {
    async fn new() -> Self {
        let site = ImageSite::start().await.unwrap();
        site.publish(FILE, image(1));
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), &site.url());
        Self { site, dir, store, heard: Heard::default() }
    }

    async fn pull(&self) -> Result<PathBuf, ImageError> {
        self.store.pull(NAME, &self.heard).await
    }

    /// The files of the store but locks, by extension.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let all = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.extension().is_some_and(|it| it == extension)).collect()
    }

    /// A download that breaks off after `count` bytes and is given up.
    async fn leave_partial(&self, count: usize) {
        self.site.fail(FILE, Fault::CloseAfter(count));
        let impatient = Patience { attempts: 1, ..patience() };
        let error = self.store.clone().with_patience(impatient).pull(NAME, &self.heard).await.unwrap_err();
        assert!(matches!(error, ImageError::Broken { received, .. } if received == count as u64), "{error:?}");
    }
}

fn store(dir: &Path, site: &str) -> ImageStore {
    ImageStore::with_site(dir.into(), site.into()).with_patience(patience())
}

fn patience() -> Patience {
    Patience {
        attempts: 4,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_secs(2),
        connect: Duration::from_secs(5),
        // Long enough for a busy machine: only the test of a transfer that stalls waits for it.
        idle: Duration::from_secs(3),
    }
}

fn image(seed: u64) -> Vec<u8> {
    (0..200_000_u64).map(|at| (at.wrapping_mul(seed * 2_654_435_761) >> 7) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[tokio::test]
async fn a_pulled_image_is_verified_listed_and_cached() {
    let lab = Lab::new().await;
    let path = lab.pull().await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), image(1));
    let listed = lab.store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), &listed[0].path, listed[0].size), (NAME, &path, 200_000));
    assert_eq!(listed[0].origin, Origin::Pulled(format!("{}/{FILE}", lab.site.url())));
    assert_eq!(lab.heard.progress().last(), Some(&(200_000, Some(200_000))));
    assert_eq!(lab.heard.notices(), Vec::<String>::new());

    assert_eq!(lab.pull().await.unwrap(), path);
    assert_eq!(lab.site.requests_for(FILE), [None]);
    assert_eq!(lab.site.requests_for(SUMS), [None, None]);
    assert!(lab.files("part").is_empty());
}

#[tokio::test]
async fn a_transfer_that_is_cut_goes_on_where_it_was() {
    let lab = Lab::new().await;
    lab.site.fail(FILE, Fault::CloseAfter(50_000));
    lab.site.fail(FILE, Fault::CloseAfter(30_000));
    let path = lab.pull().await.unwrap();
    assert_eq!(fs::read(path).unwrap(), image(1));
    assert_eq!(lab.site.requests_for(FILE), [None, Some(50_000), Some(80_000)]);
}

#[tokio::test]
async fn a_transfer_that_stalls_goes_on_where_it_was() {
    let lab = Lab::new().await;
    lab.site.fail(FILE, Fault::StallAfter(70_000));
    let path = lab.pull().await.unwrap();
    assert_eq!(fs::read(path).unwrap(), image(1));
    assert_eq!(lab.site.requests_for(FILE), [None, Some(70_000)]);
    assert!(lab.heard.notices()[0].contains("no data came for"), "{:?}", lab.heard.notices());
}

#[tokio::test]
async fn a_later_pull_goes_on_where_an_earlier_one_was() {
    let lab = Lab::new().await;
    lab.leave_partial(120_000).await;
    assert_eq!(lab.store.list().unwrap(), []);
    let path = lab.pull().await.unwrap();
    assert_eq!(fs::read(path).unwrap(), image(1));
    assert_eq!(lab.site.requests_for(FILE), [None, Some(120_000)]);
}

#[tokio::test]
async fn a_site_that_knows_no_ranges_sends_all_again() {
    let lab = Lab::new().await;
    lab.site.fail(FILE, Fault::CloseAfter(50_000));
    lab.site.fail(FILE, Fault::IgnoreRange);
    let path = lab.pull().await.unwrap();
    assert_eq!(fs::read(path).unwrap(), image(1));
    assert_eq!(lab.site.requests_for(FILE), [None, Some(50_000)]);
}

#[tokio::test]
async fn a_whole_partial_file_is_taken_as_it_is() {
    let lab = Lab::new().await;
    lab.leave_partial(120_000).await;
    fs::write(&lab.files("part")[0], image(1)).unwrap();
    lab.pull().await.unwrap();
    assert_eq!(lab.site.requests_for(FILE), [None, Some(200_000)], "there was nothing left to fetch");
}

#[tokio::test]
async fn a_partial_file_that_is_too_long_or_broken_is_fetched_anew() {
    for broken in [vec![7; 300_000], vec![7; 1000]] {
        let lab = Lab::new().await;
        lab.leave_partial(500).await;
        fs::write(&lab.files("part")[0], broken).unwrap();
        let path = lab.pull().await.unwrap();
        assert_eq!(fs::read(path).unwrap(), image(1));
    }
}

#[tokio::test]
async fn the_part_of_an_older_image_is_not_continued_with_a_newer_one() {
    let lab = Lab::new().await;
    lab.leave_partial(120_000).await;
    lab.site.publish(FILE, image(2));
    let path = lab.pull().await.unwrap();
    assert_eq!(fs::read(path).unwrap(), image(2));
    assert_eq!(lab.site.requests_for(FILE), [None, None]);
    assert!(lab.files("part").is_empty());
}

#[tokio::test]
async fn a_newer_image_stands_beside_the_older_one() {
    let lab = Lab::new().await;
    let older = lab.pull().await.unwrap();
    lab.site.publish(FILE, image(2));
    let newer = lab.pull().await.unwrap();
    assert_ne!(older, newer);
    assert_eq!(fs::read(older).unwrap(), image(1), "machines may stand on it");
    let cached = lab.store.cached(&ImageRef::Named(NAME.into())).unwrap();
    assert_eq!(cached, Some(newer));
}

#[tokio::test]
async fn an_image_that_is_renewed_between_its_sums_and_itself_is_pulled() {
    let lab = Lab::new().await;
    lab.site.corrupt(FILE, image(2));
    lab.site.fail(FILE, Fault::ThenReplace(image(2)));
    let path = lab.pull().await.unwrap();
    assert_eq!(fs::read(path).unwrap(), image(2));
}

#[tokio::test]
async fn a_wrong_sum_is_refused_and_nothing_of_it_stays() {
    let lab = Lab::new().await;
    lab.site.corrupt(FILE, image(2));
    let error = lab.pull().await.unwrap_err();
    let ImageError::WrongSum { expected, found, .. } = &error else { panic!("{error:?}") };
    let (expected, found) = (expected.to_string(), found.to_string());
    assert!(error.to_string().contains(&expected) && error.to_string().contains(&found));
    assert_ne!(expected, found);
    assert_eq!((lab.files("part"), lab.files("img")), (vec![], vec![]));
    assert_eq!(lab.store.list().unwrap(), []);
}

#[tokio::test]
async fn a_site_in_trouble_is_asked_again() {
    let lab = Lab::new().await;
    lab.site.fail(SUMS, Fault::Status(503, None));
    lab.site.fail(FILE, Fault::Status(503, None));
    lab.site.fail(FILE, Fault::Status(500, None));
    lab.pull().await.unwrap();
    assert_eq!(lab.site.requests_for(FILE).len(), 3);
    assert_eq!(lab.heard.notices().len(), 3);
}

#[tokio::test]
async fn a_site_that_asks_for_a_pause_gets_it() {
    let lab = Lab::new().await;
    lab.site.fail(FILE, Fault::Status(429, Some(1)));
    let start = std::time::Instant::now();
    lab.pull().await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(lab.site.requests_for(FILE).len(), 2);
}

#[tokio::test]
async fn a_site_that_asks_for_a_long_pause_is_left_alone() {
    let lab = Lab::new().await;
    lab.site.fail(FILE, Fault::Status(429, Some(3600)));
    let failure = Failure::from(lab.pull().await.unwrap_err());
    assert_eq!(
        failure.advice(|action| format!("{action:?}")).as_deref(),
        Some("the site asks for a pause of 3600 s; try again then")
    );
    assert_eq!(lab.site.requests_for(FILE).len(), 1);
}

#[tokio::test]
async fn patience_has_an_end() {
    let lab = Lab::new().await;
    for _ in 0..9 {
        lab.site.fail(FILE, Fault::Status(502, None));
    }
    let error = lab.pull().await.unwrap_err();
    assert!(matches!(&error, ImageError::Status { status, .. } if status.as_u16() == 502), "{error:?}");
    assert_eq!(lab.site.requests_for(FILE).len(), 4);
}

#[tokio::test]
async fn what_is_not_there_is_not_asked_for_twice() {
    let lab = Lab::new().await;
    let store = store(lab.dir.path(), &format!("{}/elsewhere", lab.site.url()));
    let error = store.pull(NAME, &lab.heard).await.unwrap_err();
    assert!(matches!(&error, ImageError::Status { status, .. } if status.as_u16() == 404), "{error:?}");
    assert_eq!(lab.site.requests().len(), 1);
}

#[tokio::test]
async fn without_the_site_the_cached_image_is_used_and_said_so() {
    let lab = Lab::new().await;
    let path = lab.pull().await.unwrap();
    let away = store(lab.dir.path(), &closed_port());
    assert_eq!(away.pull(NAME, &lab.heard).await.unwrap(), path);
    let notices = lab.heard.notices();
    assert!(notices.last().unwrap().starts_with("using image debian-13 of "), "{notices:?}");
}

#[tokio::test]
async fn without_site_and_image_the_way_out_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &closed_port());
    let error = store.pull(NAME, &Heard::default()).await.unwrap_err();
    assert!(matches!(error, ImageError::SiteUnreachable { .. }), "{error:?}");
    assert_eq!(error.blame(), Blame::Provider);
    let hint = error.hints()[0].in_words(|next| format!("<{next}>"));
    assert_eq!(hint, "<build image debian-13> makes the same image from Debian's package mirror");
}

#[tokio::test]
async fn two_pulls_at_once_fetch_once() {
    let lab = Lab::new().await;
    let other = Heard::default();
    let (one, two) = tokio::join!(lab.pull(), lab.store.pull(NAME, &other));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(lab.site.requests_for(FILE), [None]);
    let notices = [lab.heard.notices(), other.notices()].concat();
    assert_eq!(notices, ["waiting for another Ostler that is getting image debian-13"]);
}

#[tokio::test]
async fn what_is_at_hand_is_used_without_the_site() {
    let lab = Lab::new().await;
    let named = ImageRef::Named(NAME.into());
    assert_eq!(lab.store.cached(&named).unwrap(), None);
    let path = lab.store.ensure(&named, &lab.heard).await.unwrap();
    let requests = lab.site.requests().len();
    assert_eq!(lab.store.ensure(&named, &lab.heard).await.unwrap(), path);
    assert_eq!(lab.store.cached(&named).unwrap(), Some(path));
    assert_eq!(lab.site.requests().len(), requests);
}

#[tokio::test]
async fn an_image_by_url_is_fetched_once_and_verified() {
    let lab = Lab::new().await;
    lab.site.publish("mine/box.raw", image(3));
    let url = format!("{}/mine/box.raw", lab.site.url());
    let right = ImageRef::Url { url: url.clone(), checksum: sha256(&image(3)) };
    let path = lab.store.ensure(&right, &lab.heard).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), image(3));
    assert_eq!(lab.store.ensure(&right, &lab.heard).await.unwrap(), path);
    assert_eq!(lab.site.requests_for("mine/box.raw"), [None]);
    assert_eq!(lab.store.list().unwrap()[0].name, "box");

    let wrong = ImageRef::Url { url, checksum: sha256(b"other") };
    let failure = Failure::from(lab.store.ensure(&wrong, &lab.heard).await.unwrap_err());
    assert!(failure.message.contains(&sha256(b"other")), "{failure:?}");
}

#[tokio::test]
async fn an_image_by_path_must_be_there() {
    let lab = Lab::new().await;
    let path = lab.dir.path().join("mine.raw");
    let image = ImageRef::Path(path.clone());
    let failure = Failure::from(lab.store.ensure(&image, &lab.heard).await.unwrap_err());
    assert_eq!(failure.blame, Blame::Configuration);
    fs::write(&path, "disk").unwrap();
    assert_eq!(lab.store.ensure(&image, &lab.heard).await.unwrap(), path);
}

#[tokio::test]
async fn an_image_that_somebody_cut_is_not_at_hand() {
    let lab = Lab::new().await;
    let path = lab.pull().await.unwrap();
    fs::write(&path, "cut").unwrap();
    assert_eq!(lab.store.list().unwrap(), []);
    assert_eq!(lab.pull().await.unwrap(), path);
    assert_eq!(fs::read(path).unwrap(), image(1));
}

#[tokio::test]
async fn an_unknown_name_is_the_users_mistake() {
    let lab = Lab::new().await;
    let error = lab.store.pull("debian-7", &lab.heard).await.unwrap_err();
    assert_eq!((error.blame(), error.hints()), (Blame::User, vec!["known: debian-13".into()]));
    assert_eq!(lab.site.requests(), []);
}

/// A site where nobody listens: the port was free a moment ago.
fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
