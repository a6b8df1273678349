package archiver

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/warehouse"
)

func TestRedact(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"nothing to hide stays byte for byte", `{"a": 1.50,"b":"é\u00e9"}`, `{"a": 1.50,"b":"é\u00e9"}`},
		{"our names", `{"esims":[{"iccid":"8988","activation_code":"LPA:1$x$y","qr_code_url":"https://q","apple_install_url":"https://a"}]}`,
			`{"esims":[{"activation_code":"[left out]","apple_install_url":"[left out]","iccid":"8988","qr_code_url":"[left out]"}]}`},
		{"the suppliers' names", `{"activationCode":"x","qrCodeUrl":"y","directAppleInstallUrl":"z","n":12345678901234567890}`,
			`{"activationCode":"[left out]","directAppleInstallUrl":"[left out]","n":12345678901234567890,"qrCodeUrl":"[left out]"}`},
		{"a value that is one wherever it stands", `{"note":"scan LPA:1$smdp.example$SECRET now"}`, `{"note":"scan [left out] now"}`},
		{"inside a string that holds JSON", `{"data":"[{\"activationCode\":\"S\",\"iccid\":\"8\"}]"}`, `{"data":"[{\"activationCode\":\"[left out]\",\"iccid\":\"8\"}]"}`},
		{"written in escapes", `{"a":"\u004cPA:1$x$SECRET"}`, `{"a":"[left out]"}`},
		{"an empty one hides nothing", `{"activation_code":"", "x":null}`, `{"activation_code":"", "x":null}`},
		{"names alike but harmless", `{"activate_date":"2026","apple":1}`, `{"activate_date":"2026","apple":1}`},
		{"no HTML escapes are added", `{"activation_code":"s","t":"<a&b>"}`, `{"activation_code":"[left out]","t":"<a&b>"}`},
		{"other cases", `{"ACTIVATION_CODE":"s","QRCode":"t"}`, `{"ACTIVATION_CODE":"[left out]","QRCode":"[left out]"}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := redact(json.RawMessage(c.in)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestDecodeWebhook(t *testing.T) {
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	message := func(event, body string) record {
		return record{subject: "webhooks.v1.eiotclub.default." + event, messageID: "eiotclub:default:1", sequence: 7, publishedAt: at,
			data: []byte(`{"specversion":"1.0","id":"eiotclub:default:1","source":"/simline/ingest","type":"x","time":"2026-01-15T09:59:59Z","data":` + body + `}`)}
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
			if err := try(record{subject: "webhooks.v1.eiotclub.default.x", data: []byte(data)}); err == nil {
				t.Errorf("%s: %q was read", name, data)
			}
		}
	}
}
