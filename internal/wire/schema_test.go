package wire

import (
	"encoding/json"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/schemas"
	"github.com/simline/simline/schemas/schematest"
)

// Our Go types and the schemas name the same fields, in both directions and at
// every depth.
func TestTypesAndSchemasAgree(t *testing.T) {
	for _, c := range []struct {
		schema string
		typ    reflect.Type
	}{
		{"order.request.v1#/$defs/data", reflect.TypeFor[order.Request]()},
		{"order.cancel.v1#/$defs/data", reflect.TypeFor[Cancel]()},
		{"order.event.v1#/$defs/data", reflect.TypeFor[order.Record]()},
		{"evidence.v1#/$defs/data", reflect.TypeFor[Evidence]()},
		{"cdr.file.v1#/$defs/data", reflect.TypeFor[CDRToRead]()},
		{"cdr.loaded.v1#/$defs/data", reflect.TypeFor[CDRLoaded]()},
		{"cdr.gap.v1#/$defs/data", reflect.TypeFor[CDRGap]()},
		{"task.track.v1#/$defs/data", reflect.TypeFor[Task]()},
		{"task.ended.v1#/$defs/data", reflect.TypeFor[TaskEnded]()},
		{"finding.v1#/$defs/data", reflect.TypeFor[Finding]()},
		{"audit.v1#/$defs/data", reflect.TypeFor[Audit]()},
		{"envelope.v1", reflect.TypeFor[Envelope]()},
		{"envelope.v1#/$defs/accepted", reflect.TypeFor[Envelope]()},
	} {
		t.Run(c.schema, func(t *testing.T) {
			name, part, _ := strings.Cut(c.schema, "#")
			compareFields(t, c.schema, c.typ, at(t, name, part))
		})
	}
}

// node is one place in one schema document.
type node struct {
	doc  string // "order.event.v1"
	body map[string]any
}

func at(t *testing.T, doc, pointer string) node {
	t.Helper()
	b, err := schemas.JSON.ReadFile("json/" + doc + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(b, &body); err != nil {
		t.Fatal(err)
	}
	for _, step := range strings.Split(strings.Trim(pointer, "/"), "/") {
		if step == "" {
			continue
		}
		next, ok := body[step].(map[string]any)
		if !ok {
			t.Fatalf("%s has no %s", doc, pointer)
		}
		body = next
	}
	return node{doc, body}
}

// follow goes through $ref, anyOf and items to where the properties stand.
func (n node) follow(t *testing.T) node {
	t.Helper()
	if _, ok := n.body["properties"]; ok {
		return n
	}
	if ref, ok := n.body["$ref"].(string); ok {
		doc, pointer, _ := strings.Cut(ref, "#")
		if doc == "" {
			doc = n.doc
		}
		return at(t, strings.TrimSuffix(path.Base(doc), ".json"), pointer).follow(t)
	}
	if either, ok := n.body["anyOf"].([]any); ok {
		return node{n.doc, either[0].(map[string]any)}.follow(t)
	}
	if items, ok := n.body["items"].(map[string]any); ok {
		return node{n.doc, items}.follow(t)
	}
	return n
}

func compareFields(t *testing.T, where string, typ reflect.Type, n node) {
	t.Helper()
	n = n.follow(t)
	properties, _ := n.body["properties"].(map[string]any)
	fields := fieldsOf(typ)
	ours, theirs := slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(properties))
	if diff := cmp.Diff(ours, theirs); diff != "" {
		t.Errorf("%s: names in Go (-) and in the schema (+):\n%s", where, diff)
	}
	for name, ft := range fields {
		for ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct {
			ft = ft.Elem()
		}
		if ft.Kind() != reflect.Struct || reflect.PointerTo(ft).Implements(unmarshaler) {
			continue // money and times write themselves
		}
		if sub, ok := properties[name].(map[string]any); ok {
			compareFields(t, where+"."+name, ft, node{n.doc, sub})
		}
	}
}

// The words that a schema lists are those that the code knows.
func TestEnumsAgree(t *testing.T) {
	words := func(vs ...any) []string {
		var out []string
		for _, v := range vs {
			for i := range reflect.ValueOf(v).Len() {
				out = append(out, reflect.ValueOf(v).Index(i).String())
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	for _, c := range []struct {
		name, doc, pointer string
		want               []string
	}{
		{"suppliers", "common.v1", "$defs/supplier", words(order.Suppliers)},
		{"products", "order.request.v1", "$defs/data/properties/product", words(order.Products(order.EIOTCLUB), order.Products(order.ESIMFly))},
		{"products in events", "order.event.v1", "$defs/data/properties/product", words(order.Products(order.EIOTCLUB), order.Products(order.ESIMFly))},
		{"states", "order.event.v1", "$defs/data/properties/state", words(order.States)},
		{"certainties", "order.event.v1", "$defs/data/properties/certainty", words(certainties)},
		{"evidence", "order.event.v1", "$defs/data/properties/evidence", words(evidenceSources, []order.Evidence{order.EvidenceReply, order.EvidenceDuplicate})},
		{"evidence certainties", "evidence.v1", "$defs/data/properties/certainty", words(certainties)},
		{"audited actions", "audit.v1", "$defs/data/properties/action", words(Actions)},
		{"audited ways", "audit.v1", "$defs/data/properties/via", words([]string{ViaSimctl, ViaConsole})},
		{"evidence sources", "evidence.v1", "$defs/data/properties/source", words(evidenceSources)},
		{"dead-letter reasons", "dead.headers.v1", "properties/Simline-Reason", words(Reasons)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, v := range at(t, c.doc, c.pointer).body["enum"].([]any) {
				got = append(got, v.(string))
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("in Go (-) and in the schema (+):\n%s", diff)
			}
		})
	}
}

// decoders read what each type is when it comes in; those of what we accept
// from outside also judge it.
var decoders = map[string]struct {
	accepted bool
	decode   func([]byte) error
}{
	"order.request.v1": {true, func(b []byte) error { _, _, err := DecodeRequest(b); return err }},
	"order.cancel.v1":  {true, func(b []byte) error { _, _, err := DecodeCancel(b); return err }},
	"evidence.v1":      {true, func(b []byte) error { _, _, err := DecodeEvidence(b); return err }},
	"cdr.file.v1":      {true, func(b []byte) error { _, err := DecodeData(b, new(CDRToRead)); return err }},
	"task.track.v1":    {true, func(b []byte) error { _, err := DecodeData(b, new(Task)); return err }},
	"order.event.v1": {false, func(b []byte) error {
		if _, _, err := DecodeOrderEvent(b); err != nil {
			return err
		}
		_, err := DecodeData(b, new(order.Record))
		return err
	}},
	"cdr.loaded.v1": {false, func(b []byte) error { _, err := DecodeData(b, new(CDRLoaded)); return err }},
	"cdr.gap.v1":    {false, func(b []byte) error { _, err := DecodeData(b, new(CDRGap)); return err }},
	"task.ended.v1": {false, func(b []byte) error { _, err := DecodeData(b, new(TaskEnded)); return err }},
	"finding.v1":    {false, func(b []byte) error { _, err := DecodeData(b, new(Finding)); return err }},
	"audit.v1":      {false, func(b []byte) error { _, err := DecodeData(b, new(Audit)); return err }},
	"envelope.v1":   {false, func(b []byte) error { _, err := ParseEnvelope(b); return err }},
}

// Every good example of ours decodes, names that we do not have refused; every
// bad example of what we accept is refused by the Go code as well.
func TestExamplesDecode(t *testing.T) {
	tried := map[string]bool{}
	for _, e := range schematest.Examples(t) {
		d, ok := decoders[e.Type]
		if strings.HasPrefix(e.Type, "webhook.") {
			d, ok = decoders["envelope.v1"], true
		}
		if !ok || !e.Good && !d.accepted {
			continue
		}
		tried[e.Type] = true
		t.Run(e.Type+"/"+e.Name, func(t *testing.T) {
			err := d.decode(e.Body)
			if e.Good && err != nil {
				t.Errorf("refused: %v", err)
			}
			if !e.Good && err == nil {
				t.Error("accepted")
			}
			if reason := ReasonOf(err); err != nil && !slices.Contains([]string{ReasonSchema, ReasonUnknownProduct}, reason) {
				t.Errorf("reason %q (%v), wants schema or unknown_product", reason, err)
			}
		})
	}
	for typ := range decoders {
		if !tried[typ] {
			t.Errorf("no example of %s was tried", typ)
		}
	}
}

// What our own types write fits their schemas.
func TestWrittenFitsSchema(t *testing.T) {
	at := time.Date(2026, 1, 15, 1, 31, 2, 500, time.UTC)
	usd := func(s string) *order.Money {
		m, err := order.NewMoney(s, "USD")
		if err != nil {
			t.Fatal(err)
		}
		return &m
	}
	request := order.Request{OrderID: "a-1", Supplier: order.EIOTCLUB, Product: order.ProductESIM, Account: "default", GoodsCode: "G"}
	file := CDRFile{Account: "default", File: "cdr_10001_20260115000000_20260115010000_20260115013000.csv", WindowStart: at, WindowEnd: at, GeneratedAt: at}
	task := Task{TaskID: "9", Supplier: order.EIOTCLUB, Account: "default"}
	for _, c := range []struct {
		schema, typ, worker string
		data                any
	}{
		{"order.event.v1", TypeOrder("intent"), "orderer", order.Record{OrderID: "a-1", Supplier: order.EIOTCLUB, Product: order.ProductESIM, Account: "default",
			State: order.Intent, Certainty: order.CertainUnknown, Attempt: 1, At: at, Request: request, RequestHash: request.Hash(), AcceptedAt: at}},
		{"order.event.v1", TypeOrder("fulfilled"), "orderer", order.Record{OrderID: "a-1", Supplier: order.EIOTCLUB, Product: order.ProductESIM, Account: "default",
			State: order.Fulfilled, Certainty: order.CertainPlaced, Evidence: order.EvidenceReply, SupplierOrderID: "1", ESIMs: []order.ESIM{{ICCID: "1"}}, Total: usd("-0.125"),
			Error: &order.Error{Kind: "exists"}, LookLog: []order.Look{{At: at, Where: "x", Said: "found"}}, At: at, Request: request, RequestHash: request.Hash(), AcceptedAt: at, NotBefore: &at}},
		{"evidence.v1", TypeEvidence, "reconciler", Evidence{OrderID: "a-1", Supplier: order.EIOTCLUB, Account: "default", Source: order.EvidenceLookup, Certainty: order.CertainPlaced, ObservedAt: at}},
		{"order.request.v1", TypeOrderRequest, "simctl", request},
		{"order.cancel.v1", TypeOrderCancel, "simctl", Cancel{OrderID: "a-1"}},
		{"cdr.file.v1", TypeCDRFile, "cdrpull", CDRToRead{CDRFile: file}},
		{"cdr.file.v1", TypeCDRFile, "reconciler", CDRToRead{CDRFile: file, Reread: "usage_missing"}},
		{"cdr.loaded.v1", TypeCDRLoaded, "cdrpull", CDRLoaded{CDRFile: file, SHA256: request.Hash(), LoadedAt: at}},
		{"cdr.gap.v1", TypeCDRGap, "cdrpull", CDRGap{Account: "default", WindowStart: at, WindowEnd: at, Since: at}},
		{"task.track.v1", TypeTaskTrack, "simctl", task},
		{"task.ended.v1", TypeTaskEnded, "reconciler", TaskEnded{Task: task, Status: "success", EndedAt: at}},
		{"finding.v1", TypeFinding, "reconciler", Finding{FindingID: "f", Kind: "order_price", Severity: "info", Status: "open", Ours: json.RawMessage(`1`), Amount: usd("1"), FirstSeen: at, LastSeen: at}},
		{"audit.v1", TypeAudit, "simctl", Audit{Action: ActSwitchSet, Target: "all.pause", Actor: "me", Reason: "why", Via: ViaSimctl, At: at, Detail: map[string]string{"on": "true"}}},
		{"webhook.CardStopped.v1", TypeWebhook("CardStopped"), "ingest", json.RawMessage(`{"id":"1","event":"CardStopped","timestamp":1,"nonce":1,"sign":"` + strings.Repeat("0", 40) + `","iccid":"1"}`)},
	} {
		t.Run(c.schema+" "+c.typ, func(t *testing.T) {
			e, err := NewEnvelope(c.typ, Source(c.worker), "", "", at, c.data)
			if err != nil {
				t.Fatal(err)
			}
			b, err := e.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if err := schematest.Check(t, c.schema, b); err != nil {
				t.Errorf("%v\n%s", err, b)
			}
		})
	}
}
