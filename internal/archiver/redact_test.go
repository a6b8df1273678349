package archiver

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

func TestRedact(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"nothing to hide stays byte for byte", `{"a": 1.50,"b":"é\u00e9"}`, `{"a": 1.50,"b":"é\u00e9"}`},
		{"our names", `{"esims":[{"iccid":"8988","activation_code":"LPA:1$x$y","qr_code_url":"https://q","apple_install_url":"https://a"}]}`,
			`{"esims":[{"iccid":"8988","activation_code":"[left out]","qr_code_url":"[left out]","apple_install_url":"[left out]"}]}`},
		{"the suppliers' names", `{"activationCode":"x","qrCodeUrl":"y","directAppleInstallUrl":"z","n":12345678901234567890}`,
			`{"activationCode":"[left out]","qrCodeUrl":"[left out]","directAppleInstallUrl":"[left out]","n":12345678901234567890}`},
		{"a value that is one wherever it stands", `{"note":"scan LPA:1$smdp.example$SECRET now"}`, `{"note":"scan [left out] now"}`},
		{"inside a string that holds JSON", `{"data":"[{\"activationCode\":\"S\",\"iccid\":\"8\"}]"}`, `{"data":"[{\"activationCode\":\"[left out]\",\"iccid\":\"8\"}]"}`},
		{"written in escapes", `{"a":"\u004cPA:1$x$SECRET"}`, `{"a":"[left out]"}`},
		{"an empty one hides nothing", `{"activation_code":"", "x":null}`, `{"activation_code":"", "x":null}`},
		{"names alike but harmless", `{"activate_date":"2026","apple":1}`, `{"activate_date":"2026","apple":1}`},
		{"no HTML escapes are added", `{"activation_code":"s","t":"<a&b>"}`, `{"activation_code":"[left out]","t":"<a&b>"}`},
		{"a whole object", `{"n": 1, "activation_code":{"a":"LPA:1$S"} , "m":[ 2 ]}`, `{"n": 1, "activation_code":"[left out]" , "m":[ 2 ]}`},
		{"a name in escapes", `{"\u0061ctivation_code":"s","b":1}`, `{"\u0061ctivation_code":"[left out]","b":1}`},
		{"deep", `[{"a":[[{"matchingId":"S"}]]},{"b":"lpa:1$S"}]`, `[{"a":[[{"matchingId":"[left out]"}]]},{"b":"[left out]"}]`},
		{"underscores anywhere", `{"_lpa__":"s","l":1}`, `{"_lpa__":"[left out]","l":1}`},
		{"space before the colon", "{\"lpa\" \n:\"s\"}", "{\"lpa\" \n:\"[left out]\"}"},
		{"space before the colon inside a string", `{"d":"{\"lpa\"\n\t : \"s\"}"}`, `{"d":"{\"lpa\"\n\t : \"[left out]\"}"}`},
		{"in a list", `["x","LPA:1$S"]`, `["x","[left out]"]`},
		{"other cases", `{"ACTIVATION_CODE":"s","QRCode":"t"}`, `{"ACTIVATION_CODE":"[left out]","QRCode":"[left out]"}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := redact(c.in); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestDecodeWebhook(t *testing.T) {
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	message := func(event, body string) record {
		return record{subject: "webhooks.v1.eiotclub.default." + event, messageID: "eiotclub:default:1", sequence: 7, publishedAt: at,
			data: `{"specversion":"1.0","id":"eiotclub:default:1","source":"/simline/ingest","type":"x","time":"2026-01-15T09:59:59Z","data":` + body + `}`}
	}
	cases := []struct {
		name string
		m    record
		want warehouse.Webhook
	}{
		{"refund", message("Refund", `{"id":"1","event":"Refund","timestamp":1716860580,"iccid":"8988","orderId":7,"outTradeNo":"o1","orderAmount":"5.00","refundAmount":"4.5"}`),
			warehouse.Webhook{NotificationID: "1", SentAt: time.Unix(1716860580, 0).UTC(), ICCID: "8988", Cards: []string{"8988"}, Orders: []string{"o1"}, SupplierOrders: []string{"7"}, Packages: []string{""},
				OrderAmount: plainAmount("5.00"), RefundAmount: plainAmount("4.5")}},
		{"cloud eSIMs", message("CloudESimSwitchProduct", `{"id":1,"event":"CloudESimSwitchProduct","data":[{"eid":"1","productCode":"p"},{"eid":"2"}]}`),
			warehouse.Webhook{NotificationID: "1", EID: "1", Cards: []string{"1", "2"}}},
		{"alert", message("FlowAlert", `{"id":"1","event":"FlowAlert","iccid":"8","alert_type":2,"alert_value":"9%"}`),
			warehouse.Webhook{NotificationID: "1", ICCID: "8", Cards: []string{"8"}, AlertType: 2, AlertValue: "9%"}},
		{"data that cannot be read", message("SubPkgList", `{"id":"1","event":"SubPkgList","data":"[{"}`), warehouse.Webhook{NotificationID: "1"}},
		{"amounts that are none", message("Refund", `{"id":"1","event":"Refund","refundAmount":"much"}`),
			warehouse.Webhook{NotificationID: "1", Orders: []string{""}, SupplierOrders: []string{""}, Packages: []string{""}}},
		{"an event of tomorrow", message("Brand_New", `{"id":"1","event":"Brand_New","whatever":[1]}`), warehouse.Webhook{NotificationID: "1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := decodeWebhook(c.m, at, at)
			if err != nil {
				t.Fatal(err)
			}
			c.want.MessageID, c.want.Supplier, c.want.Account, c.want.Event = "eiotclub:default:1", "eiotclub", "default", c.m.subject[strings.LastIndexByte(c.m.subject, '.')+1:]
			c.want.ReceivedAt = at.Add(-time.Second)
			got.EventKey = warehouse.EventKey{}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	at := time.Now()
	for name, try := range map[string]func(record) error{
		"order":   func(m record) error { _, err := decodeOrder(m, at, at); return err },
		"webhook": func(m record) error { _, err := decodeWebhook(m, at, at); return err },
		"finding": func(m record) error { _, err := decodeFinding(m, at, at); return err },
		"cdr":     func(m record) error { _, err := decodeCDREvent(m, at, at); return err },
	} {
		for _, data := range []string{``, `{`, `[]`, `{}`, `{"data":7}`, `{"data":null}`} {
			if err := try(record{subject: "webhooks.v1.eiotclub.default.x", data: string(data)}); err == nil {
				t.Errorf("%s: %q was read", name, data)
			}
		}
	}
}

// What decodeOrder reads where it lies is what encoding/json reads.
func TestDecodeOrderAgreesWithJSON(t *testing.T) {
	full := record1(7, order.Fulfilled)
	at := full.At
	balance, _ := order.NewMoney("-12.345678", "EUR")
	full.FirstSentAt, full.Balance, full.Error, full.WaitingFor = &at, &balance, &order.Error{Kind: "no_funds", Code: "45112", Message: "l\"ow \n LPA:1$x$S"}, "no_funds"
	full.Request = order.Request{OrderID: "o7", Supplier: "eiotclub", Product: "package", ICCID: "8988", EID: "e", PackageCode: "P", MaxTotal: &balance, Quantity: 3, Metadata: json.RawMessage(`{"at":"x","state":1}`)}
	bare := order.Record{OrderID: "o1", State: order.Intent}
	pool := order.Record{OrderID: "o2", State: order.Rejected, Request: order.Request{PoolTypeCode: "T"}}
	for name, rec := range map[string]order.Record{"full": full, "bare": bare, "pool": pool, "goods": record1(1, order.Placed)} {
		t.Run(name, func(t *testing.T) {
			env, err := wire.NewEnvelope("simline.order.x.v1", "/simline/orderer", "o", "id", at, rec)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := env.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			var r order.Record // as another reader has it
			parsed, err := wire.ParseEnvelope(raw)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(parsed.Data, &r); err != nil {
				t.Fatal(err)
			}
			want := warehouse.OrderEvent{EventID: parsed.ID, OrderID: r.OrderID, Supplier: r.Supplier, Product: r.Product, Account: r.Account, State: string(r.State), Certainty: string(r.Certainty), Evidence: string(r.Evidence),
				SupplierOrderID: r.SupplierOrderID, SupplierOrderNumber: r.SupplierOrderNumber, EID: r.Request.EID, Quantity: uint16(max(1, r.Request.Quantity)),
				PackageCode: firstOf(r.Request.PackageCode, r.Request.GoodsCode, r.Request.PoolTypeCode), Total: amount(r.Total), MaxTotal: amount(r.Request.MaxTotal), Balance: amount(r.Balance),
				Waiting: r.WaitingFor, Attempt: uint32(r.Attempt), At: r.At, AcceptedAt: r.AcceptedAt}
			if r.FirstSentAt != nil {
				want.FirstSentAt = *r.FirstSentAt
			}
			if r.Error != nil {
				want.ErrorKind, want.ErrorCode, want.ErrorMessage = r.Error.Kind, r.Error.Code, "l\"ow \n [left out]"
			}
			for _, c := range append([]order.ESIM{{ICCID: r.Request.ICCID}}, r.ESIMs...) {
				if c.ICCID != "" {
					want.ICCIDs = append(want.ICCIDs, c.ICCID)
				}
			}
			got, err := decodeOrder(record{data: string(raw)}, at, at)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(got.Raw, "SECRET") || strings.Contains(got.Raw, "LPA:") || !json.Valid([]byte(got.Raw)) {
				t.Errorf("raw: %s", got.Raw)
			}
			got.EventKey = warehouse.EventKey{}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzOpen: whatever lies on a stream is read or refused, and what is let through
// holds no activation code.
func FuzzOpen(f *testing.F) {
	for _, s := range []string{`{"id":"1","time":"2026-01-15T10:00:00Z","data":{"order_id":"o","state":"placed","esims":[{"iccid":"1","activation_code":"LPA:1$a$b"}]}}`, `{ `, `{"a":[1,{"b":null}],"data":{}}`,
		`{"data":{"order_id":"o","state":"held","request":{"quantity":2,"max_total":{"amount":"1.5","currency":"USD"}}}}`, `{"data":{"x":"[{\"activationCode\":\"S\"}]","order_id":"o","state":"intent"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		at := time.Time{}
		e, err := decodeOrder(record{data: string(b)}, at, at)
		if valid := json.Valid(b); err == nil && !valid && !strings.ContainsAny(string(b), `\`) {
			t.Fatalf("%q was read", b)
		}
		if err == nil && json.Valid(b) && (!json.Valid([]byte(e.Raw)) || lpaCode.MatchString(e.Raw)) {
			t.Fatalf("%q became %q", b, e.Raw)
		}
	})
}
