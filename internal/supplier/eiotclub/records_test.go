package eiotclub

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

func TestRecordFilter(t *testing.T) {
	s, c := newStub(t, always(`{"code":"200","total":"7","data":[{"orderId":1,"updateDate":"2025-02-10 20:23:38","flowUsageBytes":5}]}`))
	rows, total, err := c.PackageRecords(t.Context(), "8988308650104486856", RecordFilter{
		CreatedFrom: time.Date(2024, 7, 15, 8, 28, 6, 0, time.UTC), UpdatedTo: time.Date(2025, 2, 10, 12, 23, 38, 0, time.UTC),
		OrderIDs: []string{"10004996", "10004997"}, States: []int{0, 1}, Page: 2, PageSize: 2})
	if err != nil || total != 7 || len(rows) != 1 || rows[0].UsedBytes != 5 || !rows[0].UpdatedAt.Equal(time.Date(2025, 2, 10, 12, 23, 38, 0, time.UTC)) {
		t.Errorf("%+v, total %d, %v", rows, total, err)
	}
	got := s.asked[0].params
	for _, system := range []string{"appkey", "timestamp", "nonce", "sign"} {
		delete(got, system)
	}
	want := map[string]any{"iccid": "8988308650104486856", "createDateStart": "2024-07-15 16:28:06", "updateDateEnd": "2025-02-10 20:23:38",
		"orderIdArrStr": "10004996,10004997", "stateArrStr": "0,1", "page": json.Number("2"), "pageSize": json.Number("2")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTasks(t *testing.T) {
	s, c := newStub(t, always(`{"code":"200","data":[{"id":"1","status":"2","result":"ok"},{"id":2,"status":-2,"result":null},{"id":"3","status":1}]}`))
	got, err := c.Tasks(t.Context(), []string{"1", "2", "3"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Task{{"1", TaskSucceeded, "ok"}, {"2", TaskFailed, ""}, {"3", TaskRunning, ""}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got[2].Ended() || !got[1].Ended() || s.asked[0].params["ids"] != "1,2,3" {
		t.Errorf("%+v, asked %v", got, s.asked[0].params)
	}
	_, c = newStub(t, always(`{"code":"200","data":[{"id":"1","status":"done"}]}`))
	if got, err := c.Tasks(t.Context(), []string{"1"}); err == nil {
		t.Errorf("a status that is no number read as %+v", got)
	}
}

func TestTraffic(t *testing.T) {
	s, c := newStub(t, always(`{"code":"200","data":[{"iccid":"1","traffic":"9007199254740993"},{"iccid":"2","traffic":5}]}`))
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	got, err := c.Traffic(t.Context(), []string{"1", "2"}, from, from.AddDate(0, 0, 1))
	if diff := cmp.Diff(map[string]int64{"1": 9007199254740993, "2": 5}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	p := s.asked[0].params
	if p["dateType"] != "daily" || p["startDate"] != "2026-01-01" || p["endDate"] != "2026-01-02" || p["iccids"] != "1,2" {
		t.Errorf("asked %v", p)
	}
	if _, err := c.TrafficMonth(t.Context(), []string{"1"}, from); err != nil || s.asked[1].params["month"] != "2026-01" || s.asked[1].params["dateType"] != "monthly" {
		t.Errorf("%v, asked %v", err, s.asked[1].params)
	}
	_, c = newStub(t, always(`{"code":"200","data":[{"iccid":"1","traffic":"1.5"}]}`))
	if got, err := c.Traffic(t.Context(), []string{"1"}, from, from); err == nil {
		t.Errorf("half a byte read as %v", got)
	}
}

func TestPrices(t *testing.T) {
	answers := map[string]string{
		"agent/balance":                   `{"code":"200","data":{"balance":"0.00","currency":"EUR"},"message":"操作成功"}`,
		"package/listOrderPackageByIccid": `{"code":"200","data":[{"packageCode":"A","price":0.1,"gzhPrice":97.5},{"packageCode":"B","price":"x"}]}`,
		"esim/goods":                      `{"code":0,"data":{"list":[{"code":"G","price":140},{"code":"H","name":"no price"}]}}`,
		"cloudesim/pkg/list":              `{"code":"200","data":{"list":[{"packageCode":"C","price":1}]}}`,
	}
	for name, c := range map[string]struct {
		request order.Request
		want    string
		kind    supplier.Kind
	}{
		"package in the account's currency": {order.Request{Product: order.ProductPackage, ICCID: "1", PackageCode: "A"}, "0.10 EUR", ""},
		"package without an amount":         {order.Request{Product: order.ProductPackage, ICCID: "1", PackageCode: "B"}, "", supplier.Unknown},
		"package that is not offered":       {order.Request{Product: order.ProductPackage, ICCID: "1", PackageCode: "Z"}, "", supplier.Refused},
		"eSIM in cents":                     {order.Request{Product: order.ProductESIM, GoodsCode: "G"}, "1.40 USD", ""},
		"eSIM without a price":              {order.Request{Product: order.ProductESIM, GoodsCode: "H"}, "", supplier.Unknown},
		"cloud in cents":                    {order.Request{Product: order.ProductCloudESIMPackage, EID: "1", PackageCode: "C"}, "0.01 USD", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newStub(t, func(op string, _ map[string]any) string { return answers[op] })
			got, err := client.Price(t.Context(), c.request)
			if c.kind != "" {
				if err == nil || supplier.AsError("", err).Kind != c.kind {
					t.Errorf("got %v, %v, want kind %s", got, err, c.kind)
				}
			} else if err != nil || got.String() != c.want {
				t.Errorf("got %v, %v, want %s", got, err, c.want)
			}
		})
	}
	t.Run("the account's currency is asked once", func(t *testing.T) {
		s, client := newStub(t, func(op string, _ map[string]any) string { return answers[op] })
		for range 3 {
			if _, err := client.Price(t.Context(), order.Request{Product: order.ProductPackage, ICCID: "1", PackageCode: "A"}); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.ops(); len(got) != 4 {
			t.Errorf("asked %v", got)
		}
	})
	t.Run("none for a pool", func(t *testing.T) {
		_, client := newStub(t, always(``))
		if _, err := client.Price(t.Context(), order.Request{Product: order.ProductPoolPackage}); !errors.Is(err, supplier.ErrNoPrice) {
			t.Errorf("got %v", err)
		}
	})
}
