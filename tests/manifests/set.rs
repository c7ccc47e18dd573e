//! A set of Kubernetes objects, as YAML files hold them, and how to find one's way in it.

use serde::Deserialize as _;
use serde_json::Value;

/// The labels that a selector knows.
const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

/// Objects in the order of their files.
#[derive(Debug, Clone)]
pub(crate) struct Set(pub(crate) Vec<Value>);

impl Set {
    /// The objects in `yaml`, which may hold many documents.
    pub(crate) fn parse(yaml: &str) -> Self {
        let documents = serde_yaml::Deserializer::from_str(yaml)
            .map(|document| Value::deserialize(document).expect("each document is YAML"));
        Self(documents.filter(|document| !document.is_null()).collect())
    }

    /// All objects of `kind`.
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// The object of `kind` called `name`.
    pub(crate) fn get<'a>(&'a self, kind: &'a str, name: &str) -> Option<&'a Value> {
        self.of(kind).find(|object| object["metadata"]["name"] == name)
    }

    /// Likewise, to change it.
    pub(crate) fn get_mut(&mut self, kind: &str, name: &str) -> &mut Value {
        self.0
            .iter_mut()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }
}

/// `Deployment client1`, for people.
pub(crate) fn title(object: &Value) -> String {
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// A text, or the JSON of what is none.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The entries of a list; none where there is no list.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The entry called `name` of a list.
pub(crate) fn named<'a>(entries: &'a Value, name: &str) -> &'a Value {
    list(entries).iter().find(|entry| entry["name"] == name).unwrap_or(&Value::Null)
}

/// The labels of the pods of a Deployment.
pub(crate) fn pod_labels(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["metadata"]["labels"]
}

/// The one container of a Deployment's pods.
pub(crate) fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

/// Whether every entry of `wanted` is among `labels`, as a Service selects.
pub(crate) fn has_labels(labels: &Value, wanted: &Value) -> bool {
    wanted
        .as_object()
        .is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// Whether a `LabelSelector` selects what carries `labels`. An empty one selects everything.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let matches_labels =
        selector["matchLabels"].is_null() || has_labels(labels, &selector["matchLabels"]);
    matches_labels
        && list(&selector["matchExpressions"]).iter().all(|wanted| {
            let operator = text(&wanted["operator"]);
            assert!(OPERATORS.contains(&operator.as_str()), "{operator} is no operator");
            let value = labels.get(text(&wanted["key"]));
            let is_listed = value.is_some_and(|value| list(&wanted["values"]).contains(value));
            match operator.as_str() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

/// A quantity of Kubernetes in thousandths: `100m` is 100, `1` is 1,000, `1Ki` is 1,024,000.
pub(crate) fn thousandths(quantity: &Value) -> Option<u64> {
    let quantity = text(quantity);
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40)];
    for (unit, bytes) in units {
        if let Some(number) = quantity.strip_suffix(unit) {
            return Some(number.parse::<u64>().ok()? * bytes * 1000);
        }
    }
    match quantity.strip_suffix('m') {
        Some(number) => number.parse().ok(),
        None => Some(quantity.parse::<u64>().ok()? * 1000),
    }
}

/// A quantity in bytes.
pub(crate) fn bytes(quantity: &Value) -> Option<u64> {
    thousandths(quantity).map(|thousandths| thousandths / 1000)
}

mod tests {
    //! The rules are only as good as their reading of Kubernetes.

    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let read = [json!("100m"), json!("2"), json!(2), json!("64Mi"), json!("1Gi"), json!("1Q")];
        let expected = [
            Some(100),
            Some(2000),
            Some(2000),
            Some(67_108_864_000),
            Some(1_073_741_824_000),
            None,
        ];
        assert_eq!(read.each_ref().map(thousandths), expected);
    }

    #[test]
    fn selectors_select_as_kubernetes_selects() {
        let labels = json!({"app": "client1", "role": "client"});
        let is_in = |values: Value| {
            let wanted = json!({"key": "role", "operator": "In", "values": values});
            json!({"matchExpressions": [wanted]})
        };
        let exists = |key| json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
        assert!(selects(&json!({}), &labels));
        assert!(selects(&json!({"matchLabels": {"role": "client"}}), &labels));
        assert!(!selects(&json!({"matchLabels": {"role": "learner"}}), &labels));
        assert!(!selects(&json!({"matchLabels": {"zone": "a"}}), &labels));
        assert!(selects(&is_in(json!(["learner", "client"])), &labels));
        assert!(!selects(&is_in(json!(["learner"])), &labels));
        assert!(selects(&exists("app"), &labels) && !selects(&exists("zone"), &labels));
        assert!(has_labels(&labels, &json!({"app": "client1"})));
        assert!(!has_labels(&labels, &Value::Null), "a Service without selector selects nothing");
    }
}
