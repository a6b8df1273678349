package schemas_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/schemas"
	"github.com/simline/simline/schemas/schematest"
)

// document reads asyncapi.yaml as plain JSON values.
func document(t *testing.T) map[string]any {
	t.Helper()
	b, err := yaml.YAMLToJSON(schemas.AsyncAPI)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func object(t *testing.T, v any, steps ...string) map[string]any {
	t.Helper()
	for _, s := range steps {
		m, _ := v.(map[string]any)
		v = m[s]
	}
	m, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("asyncapi.yaml has no object at %v", steps)
	}
	return m
}

// subjects are the names that bus/topology.go makes, with the names of its
// parameters in the places of their values.
var subjects = map[string]string{
	"SubjectRequest":    bus.SubjectRequest("{supplier}", "{product}"),
	"SubjectCancel":     bus.SubjectCancel("{supplier}"),
	"SubjectOrderEvent": bus.SubjectOrderEvent("{orderID}", "{supplier}", "{state}"),
	"SubjectEvidence":   bus.SubjectEvidence("{supplier}", "{orderID}"),
	"SubjectWebhook":    bus.SubjectWebhook("{supplier}", "{account}", "{event}"),
	"SubjectCDRFile":    bus.SubjectCDRFile("{account}"),
	"SubjectCDRLoaded":  bus.SubjectCDRLoaded("{account}"),
	"SubjectCDRGap":     bus.SubjectCDRGap("{account}"),
	"SubjectFinding":    bus.SubjectFinding("{kind}"),
	"SubjectTaskTrack":  bus.SubjectTaskTrack("{supplier}"),
	"SubjectTaskEnded":  bus.SubjectTaskEnded("{supplier}"),
	"SubjectDead":       bus.SubjectDead("{stream}"),
	"SubjectAudit":      bus.SubjectAudit("{action}"),
	"SubjectStatus":     bus.SubjectStatus,
}

// notMessages are a filter, a bucket's key, and what the server itself sends.
var notMessages = []string{"SubjectOrderHistory", "SubjectKV", "SubjectMaxDeliveries"}

// What stands in topology.go stands in the document, and the reverse.
func TestAsyncAPIHasTheSubjectsOfTheTopology(t *testing.T) {
	parsed, err := parser.ParseFile(token.NewFileSet(), "../internal/bus/topology.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		var name string
		switch n := n.(type) {
		case *ast.FuncDecl:
			name = n.Name.Name
		case *ast.ValueSpec:
			name = n.Names[0].Name
		}
		if _, known := subjects[name]; strings.HasPrefix(name, "Subject") && !known && !slices.Contains(notMessages, name) {
			t.Errorf("topology.go has %s, which this test does not know: add it here and to asyncapi.yaml", name)
		}
		return true
	})
	var got []string
	for name, c := range object(t, document(t), "channels") {
		if address, ok := c.(map[string]any)["address"].(string); ok {
			got = append(got, address)
		} else if name != "orderStatusReply" {
			t.Errorf("channel %s has no address", name)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(slices.Sorted(maps.Values(subjects)), got); diff != "" {
		t.Errorf("subjects in topology.go (-) and in asyncapi.yaml (+):\n%s", diff)
	}
}

func TestAsyncAPIHasTheStreamsOfTheTopology(t *testing.T) {
	doc := document(t)
	topology := bus.NewTopology(bus.DefaultSettings())
	want, filters := map[string]any{}, map[string][]string{}
	for _, s := range topology.Streams {
		discard := "old"
		if s.Discard == jetstream.DiscardNew {
			discard = "new"
		}
		want[s.Name] = map[string]any{"retention": map[jetstream.RetentionPolicy]string{jetstream.LimitsPolicy: "limits", jetstream.WorkQueuePolicy: "workqueue"}[s.Retention], "discard": discard}
		filters[s.Name] = s.Subjects
	}
	got := object(t, doc, "x-streams")
	for _, s := range got {
		delete(s.(map[string]any), "description")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("streams in topology.go (-) and in asyncapi.yaml (+):\n%s", diff)
	}
	covered := map[string]bool{}
	for name, c := range object(t, doc, "channels") {
		channel := c.(map[string]any)
		stream, _ := channel["x-stream"].(string)
		address, _ := channel["address"].(string)
		if stream == "" {
			if name != "orderStatus" && name != "orderStatusReply" {
				t.Errorf("channel %s names no stream", name)
			}
			continue
		}
		found := false
		for _, supplier := range order.Suppliers {
			subject := strings.ReplaceAll(address, "{supplier}", supplier)
			for _, f := range filters[stream] {
				if matches(f, subject) {
					found, covered[stream+" "+f] = true, true
				}
			}
		}
		if !found {
			t.Errorf("stream %s takes nothing on %s: it takes %v", stream, address, filters[stream])
		}
	}
	for stream, fs := range filters {
		for _, f := range fs {
			if !covered[stream+" "+f] {
				t.Errorf("%s of stream %s is on no channel of the document", f, stream)
			}
		}
	}
}

// matches says whether a NATS filter takes a subject.
func matches(filter, subject string) bool {
	fs, ss := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, f := range fs {
		if f == ">" {
			return len(ss) > i
		}
		if i >= len(ss) || f != "*" && f != ss[i] {
			return false
		}
	}
	return len(fs) == len(ss)
}

// Each durable of the topology is read by an operation, on the stream that it
// stands on, and the reverse.
func TestAsyncAPIHasTheConsumersOfTheTopology(t *testing.T) {
	doc := document(t)
	var want, got []string
	for stream, consumers := range bus.NewTopology(bus.DefaultSettings()).Consumers {
		for _, c := range consumers {
			want = append(want, stream+"/"+c.Durable)
		}
	}
	for name, o := range object(t, doc, "operations") {
		op := o.(map[string]any)
		channel := resolve(t, doc, object(t, op, "channel"))
		consumer, _ := op["x-consumer"].(string)
		if consumer == "" {
			continue
		}
		if op["action"] != "receive" {
			t.Errorf("operation %s sends, but names the consumer %s", name, consumer)
		}
		for _, supplier := range order.Suppliers {
			got = append(got, fmt.Sprint(channel["x-stream"], "/", strings.ReplaceAll(consumer, "{supplier}", supplier)))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("consumers in topology.go (-) and in asyncapi.yaml (+):\n%s", diff)
	}
}

// Every reference leads somewhere, every message type has a schema and every
// schema a message, and each channel is written and read by someone.
func TestAsyncAPIHoldsTogether(t *testing.T) {
	doc := document(t)
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("asyncapi is %v", doc["asyncapi"])
	}
	named := map[string]bool{}
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				if file, ok := strings.CutPrefix(ref, "./json/"); ok {
					typ := strings.TrimSuffix(file, ".json")
					schematest.Schema(t, typ)
					named[typ] = true
				} else {
					resolve(t, doc, v)
				}
			}
			for k, e := range v {
				walk(where+"/"+k, e)
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprint(where, "/", i), e)
			}
		}
	}
	walk("", doc)
	for _, typ := range schematest.Types(t) {
		if !named[typ] && typ != "envelope.v1" {
			t.Errorf("schema %s is no message of the document", typ)
		}
	}

	workers := []string{"ingest", "orderer", "cdrpull", "reconciler", "archiver", "operator", "any"}
	used := map[string]bool{}
	for name, o := range object(t, doc, "operations") {
		op := o.(map[string]any)
		if !slices.Contains([]any{"send", "receive"}, op["action"]) {
			t.Errorf("operation %s: action %v", name, op["action"])
		}
		if w, _ := op["x-worker"].(string); !slices.Contains(workers, w) {
			t.Errorf("operation %s is of %q, which is no worker", name, w)
		}
		used[object(t, op, "channel")["$ref"].(string)] = true
	}
	for name, c := range object(t, doc, "channels") {
		if !used["#/channels/"+name] && name != "orderStatusReply" {
			t.Errorf("channel %s is used by no operation", name)
		}
		channel := c.(map[string]any)
		if len(object(t, channel, "messages")) == 0 {
			t.Errorf("channel %s has no message", name)
		}
		address, _ := channel["address"].(string)
		var want, got []string
		for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(address, -1) {
			want = append(want, m[1])
		}
		if p, ok := channel["parameters"].(map[string]any); ok {
			got = slices.Collect(maps.Keys(p))
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("parameters of channel %s, in its address (-) and described (+):\n%s", name, diff)
		}
	}
	for name, m := range object(t, doc, "components", "messages") {
		payload, ok := m.(map[string]any)["payload"].(map[string]any)
		if !ok {
			continue // a dead letter: whatever it was
		}
		file := path.Base(object(t, payload, "schema")["$ref"].(string))
		if file != m.(map[string]any)["name"].(string)+".json" {
			t.Errorf("message %s is named %v and has the schema %s", name, m.(map[string]any)["name"], file)
		}
	}
}

func resolve(t *testing.T, doc map[string]any, ref map[string]any) map[string]any {
	t.Helper()
	pointer, ok := strings.CutPrefix(ref["$ref"].(string), "#/")
	if !ok {
		t.Fatalf("reference %v is neither into the document nor to ./json/", ref["$ref"])
	}
	return object(t, doc, strings.Split(pointer, "/")...)
}

// The document against AsyncAPI's own schema. tools/check fetches that from npm
// where it can, and names the file in ASYNCAPI_SCHEMA.
func TestAsyncAPIFitsItsMetaSchema(t *testing.T) {
	file := os.Getenv("ASYNCAPI_SCHEMA")
	if file == "" {
		t.Skip("ASYNCAPI_SCHEMA is not set: see tools/check")
	}
	s, err := jsonschema.NewCompiler().Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(any(document(t))); err != nil {
		t.Errorf("%v", err)
	}
}
