package eiotclub

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
)

// The bodies are the examples of seed 002; "nested" is the same data as the
// schema, not the example, has it.
const (
	seedSubPkgList = `{"data":"[{\"iccid\":\"89423053323291099364\",\"orderId\":10004728,\"packageName\":\"A-TM-50M-1天\",\"packageCode\":\"A-TM-50M-1D-A-CN-TEST-2024052489FC722C\",\"state\":0,\"gzhPackageName\":\"\",\"createDate\":\"2024-05-28 09:34:47\",\"packageType\":3,\"outTradeNo\":\"6300001983111426769635\"}]","event":"SubPkgList","id":"ue5Y0qNC8QQIRtUR3UgV4xzg","nonce":40604,"sign":"F0D19FA6945B21C0D61BDEFD4DCC41B64B29272B","timestamp":1716860340}`
	seedRefund     = `{"event":"Refund","iccid":"89423053323291099364","id":"s2Vx3BfRtN1h253WeCLNRkAz","nonce":15487,"orderId":10004728,"outTradeNo":"6300001983111426769635","sign":"86AB51FECD873FDCF4B67F7CC4B2119D8BEFEE30","timestamp":1716860580,"orderAmount":"5.00","refundAmount":"4.50"}`
	seedFlowAlert  = `{"alert_type":1,"alert_value":"100","event":"FlowAlert","iccid":"89852012345678901234","id":"CNTUlkm0pzRujPBr2tN8NNa7","nonce":40974,"sign":"88426183D4F6A984E9EA2F8BB2F7221D732F2EDF","timestamp":1703142059}`
	seedSwitch     = `{"data":"[{\"iccid\":\"8988308650100524999\",\"productCode\":\"2ROPDOZLLB20210607140809\"}]","event":"SwitchProduct","id":"U0uauFzYcBgP50i09jxKaC29","nonce":76706,"sign":"B3101B16CF9DCFF3F05BF5445E4F5B4036891B47","timestamp":1710497899}`
)

func TestParseNotification(t *testing.T) {
	seedPackage := Package{ICCID: "89423053323291099364", OrderID: "10004728", PackageName: "A-TM-50M-1天",
		PackageCode: "A-TM-50M-1D-A-CN-TEST-2024052489FC722C", State: "0", CreateDate: "2024-05-28 09:34:47", PackageType: "3", OutTradeNo: "6300001983111426769635"}
	bought := Notification{ID: "ue5Y0qNC8QQIRtUR3UgV4xzg", Event: "SubPkgList", Nonce: "40604",
		Timestamp: time.Date(2024, 5, 28, 1, 39, 0, 0, time.UTC), Packages: []Package{seedPackage}}
	cloud := bought
	cloud.Event, cloud.Packages = "CloudESimPkgActivate", []Package{{EID: "89423053323291099364111111", EshopOrderID: "10004728", OutTradeNo: "x"}}

	cases := []struct {
		name, body string
		want       Notification
	}{
		{"data as a string, as in every example", seedSubPkgList, bought},
		{"data as the schema has it", strings.NewReplacer(`"[{`, `[{`, `}]"`, `}]`, `\"`, `"`).Replace(seedSubPkgList), bought},
		{"one object where a list is documented", strings.NewReplacer(`"[{`, `{`, `}]"`, `}`, `\"`, `"`).Replace(seedSubPkgList), bought},
		{"an order id sent as text", strings.Replace(seedSubPkgList, `:10004728`, `:\"10004728\"`, 1), bought},
		{"cloud eSIM", `{"id":"ue5Y0qNC8QQIRtUR3UgV4xzg","event":"CloudESimPkgActivate","nonce":"40604","timestamp":"1716860340","data":{"eid":"89423053323291099364111111","eshopOrderId":10004728,"outTradeNo":"x"}}`, cloud},
		{"alert", seedFlowAlert, Notification{ID: "CNTUlkm0pzRujPBr2tN8NNa7", Event: "FlowAlert", Nonce: "40974",
			Timestamp: time.Unix(1703142059, 0).UTC(), ICCID: "89852012345678901234", AlertType: 1, AlertValue: "100"}},
		{"product", seedSwitch, Notification{ID: "U0uauFzYcBgP50i09jxKaC29", Event: "SwitchProduct", Nonce: "76706",
			Timestamp: time.Unix(1710497899, 0).UTC(), Products: []Product{{ICCID: "8988308650100524999", ProductCode: "2ROPDOZLLB20210607140809"}}}},
		{"IMEI pool, nonce as text", `{"id":"7","event":"CardMovedInIMEIPool","nonce":"12345","timestamp":1,"iccid":"8988","plockGroupId":42}`,
			Notification{ID: "7", Event: "CardMovedInIMEIPool", Nonce: "12345", Timestamp: time.Unix(1, 0).UTC(), ICCID: "8988", PoolGroupID: "42"}},
		{"an event nobody documented", `{"id":13,"event":"Brand_New","iccid":"8988","data":true}`, Notification{ID: "13", Event: "Brand_New", ICCID: "8988"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseNotification([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("unreadable data keeps the common fields", func(t *testing.T) {
		got, err := ParseNotification([]byte(`{"id":"7","event":"SubPkgList","data":"[{"}`))
		if err == nil || got.ID != "7" || got.Event != "SubPkgList" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestNotificationOrders(t *testing.T) {
	cases := []struct {
		name, body string
		want       []OrderNotice
	}{
		{"bought", seedSubPkgList, []OrderNotice{{OutTradeNo: "6300001983111426769635", SupplierOrderID: "10004728", ICCID: "89423053323291099364",
			PackageCode: "A-TM-50M-1D-A-CN-TEST-2024052489FC722C", State: order.Fulfilled}}},
		{"refunded", seedRefund, []OrderNotice{{OutTradeNo: "6300001983111426769635", SupplierOrderID: "10004728", ICCID: "89423053323291099364",
			State: order.Refunded, OrderAmount: "5.00", RefundAmount: "4.50"}}},
		{"ended on a cloud eSIM, two orders", `{"event":"CloudESimPkgDeactivate","data":[{"eid":"1","eshopOrderId":5,"outTradeNo":"a"},{"eid":"2","eshopOrderId":6}]}`,
			[]OrderNotice{{OutTradeNo: "a", SupplierOrderID: "5", EID: "1", State: order.Fulfilled, Ended: true}, {SupplierOrderID: "6", EID: "2", State: order.Fulfilled, Ended: true}}},
		{"no order", seedFlowAlert, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n, err := ParseNotification([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, n.Orders()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKnownEvents(t *testing.T) {
	if len(shapes) != 20 {
		t.Errorf("%d events, the document has 20", len(shapes))
	}
	if KnownEvent("flowalert") || KnownEvent("") || !KnownEvent("IMEIUnLock") {
		t.Error("names are taken as sent")
	}
}

func TestParseTimestamp(t *testing.T) {
	want := time.Date(2024, 5, 28, 1, 39, 0, 0, time.UTC)
	for _, s := range []string{"1716860340", "1716860340000"} {
		if got, ok := ParseTimestamp(s); !ok || !got.Equal(want) {
			t.Errorf("%s: %v %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-1", "1.5", "17168603400000", "now"} {
		if got, ok := ParseTimestamp(s); ok {
			t.Errorf("%q was read as %v", s, got)
		}
	}
	if got, ok := Date("2024-05-28 09:34:47"); !ok || got.Format(time.DateTime) != "2024-05-28 01:34:47" {
		t.Errorf("date: %v %v", got, ok)
	}
}
