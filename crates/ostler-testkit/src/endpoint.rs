//! Which endpoint of a vendor's schema a request is for.

use std::collections::BTreeMap;

/// What stands in the path of a request, by the name that the schema gives it.
pub type Parameters = BTreeMap<String, String>;

/// The endpoint among these that a request is for, such as `GET /servers/{id}`, with what stands in its path.
pub(crate) fn find(
    endpoints: impl Iterator<Item = &'static String>,
    method: &str,
    path: &[String],
) -> Option<(&'static str, Parameters)> {
    // A fixed word goes before a parameter.
    endpoints.filter_map(|endpoint| fits(endpoint, method, path)).min_by_key(|(_, found)| found.len())
}

fn fits(endpoint: &'static str, method: &str, path: &[String]) -> Option<(&'static str, Parameters)> {
    let (their_method, template) = endpoint.split_once(' ')?;
    let template: Vec<&str> = template.trim_start_matches('/').split('/').collect();
    if their_method != method || template.len() != path.len() {
        return None;
    }
    let mut found = Parameters::new();
    for (wanted, given) in template.iter().zip(path) {
        match wanted.strip_prefix('{').and_then(|wanted| wanted.strip_suffix('}')) {
            Some(name) => drop(found.insert(name.to_owned(), given.clone())),
            None if wanted == given => {}
            None => return None,
        }
    }
    Some((endpoint, found))
}
