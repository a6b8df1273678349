package wire

import (
	"encoding/json"
	"time"

	"github.com/simline/simline/internal/order"
)

// CDRFile announces a file that stands in an account's directory.
type CDRFile struct {
	Account     string    `json:"account"` // the account's name in our configuration
	File        string    `json:"file"`
	Size        int64     `json:"size"` // bytes
	WindowStart time.Time `json:"window_start"`
	WindowEnd   time.Time `json:"window_end"`
	GeneratedAt time.Time `json:"generated_at"`
}

// CDRLoaded says that a file is in ClickHouse, whole.
type CDRLoaded struct {
	CDRFile
	SHA256    string    `json:"sha256"`    // of the file's bytes, hex
	Rows      int64     `json:"rows"`      // data rows read
	Inserted  int64     `json:"inserted"`  // rows that were new or newer
	Known     int64     `json:"known"`     // rows that were there already
	Rejects   int64     `json:"rejects"`   // rows set aside in simline.cdr_rejects
	Conflicts int64     `json:"conflicts"` // rows whose id was there with other content
	Bytes     int64     `json:"bytes"`     // sum of data_usage over the good rows
	LoadedAt  time.Time `json:"loaded_at"`
}

// CDRGap is a half hour that no loaded file covers although it is late.
type CDRGap struct {
	Account     string    `json:"account"`
	WindowStart time.Time `json:"window_start"`
	WindowEnd   time.Time `json:"window_end"`
	Since       time.Time `json:"since"` // when it became late
}

// Task is a batch task at a supplier that upstream wants followed.
type Task struct {
	TaskID   string `json:"task_id"`
	Supplier string `json:"supplier"`
	Account  string `json:"account,omitempty"` // empty means "default"
	What     string `json:"what,omitempty"`
}

// TaskEnded says how a tracked task ended.
type TaskEnded struct {
	Task
	Status  string    `json:"status"` // success, ended, failed
	Result  string    `json:"result,omitempty"`
	EndedAt time.Time `json:"ended_at"`
}

// Finding is one difference between us and a supplier.
type Finding struct {
	FindingID       string          `json:"finding_id"` // stable across runs
	Kind            string          `json:"kind"`
	Severity        string          `json:"severity"` // info, warning, critical
	Status          string          `json:"status"`   // open, closed, accepted
	OrderID         string          `json:"order_id,omitempty"`
	Account         string          `json:"account,omitempty"`
	Supplier        string          `json:"supplier,omitempty"`
	SupplierOrderID string          `json:"supplier_order_id,omitempty"`
	ICCID           string          `json:"iccid,omitempty"`
	EID             string          `json:"eid,omitempty"`
	TaskID          string          `json:"task_id,omitempty"`
	Window          string          `json:"window,omitempty"` // RFC 3339 start/end
	Ours            json.RawMessage `json:"ours,omitempty"`
	Theirs          json.RawMessage `json:"theirs,omitempty"`
	Amount          *order.Money    `json:"amount,omitempty"` // money at stake
	FirstSeen       time.Time       `json:"first_seen"`
	LastSeen        time.Time       `json:"last_seen"`
	Evidence        string          `json:"evidence,omitempty"`
	SuggestedAction string          `json:"suggested_action,omitempty"`
}

// DecodeData reads the data of a CloudEvents event, or a bare message, into v,
// refusing names that v does not have.
func DecodeData(b []byte, v any) (Meta, error) {
	data, env, err := payload(b)
	if err != nil {
		return Meta{}, err
	}
	return metaOf(env), decodeStrict(data, v)
}
