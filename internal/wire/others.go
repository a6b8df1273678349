package wire

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/simline/simline/internal/order"
)

// CDRToRead asks for a file to be read, on cdr.v1.file.<account>: cdrpull's own
// announcement of one that stands settled in its directory or, with Reread, the
// wish of a person or of reconciler that one be read again. A file that has
// another size by then is left to its next announcement.
type CDRToRead struct {
	CDRFile
	Reread string `json:"reread,omitempty"` // who wants it read although it is known, and why
	Force  bool   `json:"force,omitempty"`  // with Reread, a person's word: load it whatever it looks like
}

// CDRFile is a file in an account's directory.
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
	Rows      int64     `json:"rows"`      // good rows
	Inserted  int64     `json:"inserted"`  // rows that were new or newer
	Known     int64     `json:"known"`     // good rows that were there already
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

// Validate says what is wrong with the wish.
func (f *CDRToRead) Validate() error {
	if f.Force && f.Reread == "" {
		return errors.New("force without reread")
	}
	return errors.Join(f.CDRFile.Validate(), checkTexts(map[string]string{"reread": f.Reread}))
}

// Validate says what is wrong with what is said of a file.
func (f *CDRFile) Validate() error {
	switch {
	case !order.ValidAccount(f.Account):
		return fmt.Errorf("account %.40q is not a name", f.Account)
	case f.File == "" || strings.ContainsAny(f.File, "/\\") || strings.ContainsFunc(f.File, isControl) || utf8.RuneCountInString(f.File) > 255:
		return fmt.Errorf("file %.80q is not the name of a file", f.File)
	case f.Size < 0:
		return fmt.Errorf("size %d is negative", f.Size)
	}
	return errors.Join(checkTime("window_start", f.WindowStart), checkTime("window_end", f.WindowEnd), checkTime("generated_at", f.GeneratedAt))
}

func (t *Task) fill() { t.Account = cmp.Or(t.Account, order.DefaultAccount) }

// Validate says what is wrong with a task to follow.
func (t *Task) Validate() error {
	switch {
	case t.TaskID == "":
		return errors.New("task_id is missing")
	case !slices.Contains(order.Suppliers, t.Supplier):
		return fmt.Errorf("supplier %.40q is not known", t.Supplier)
	case !order.ValidAccount(t.Account):
		return fmt.Errorf("account %.40q is not a name", t.Account)
	}
	return checkTexts(map[string]string{"task_id": t.TaskID, "what": t.What})
}

// DecodeData reads the data of a CloudEvents event, or a bare message, into v, a
// pointer, refusing names that v does not have. An account that is left out of
// what upstream sends becomes "default", and v's own Validate is asked if it has
// one. Its error is an *Error.
func DecodeData(b []byte, v any) (Meta, error) { return decodeInto(b, v) }

func decodeInto(b []byte, v any) (Meta, error) {
	d, err := open(b)
	if err != nil {
		return d.meta(), err
	}
	if err := d.decode(v); err != nil {
		return d.meta(), err
	}
	if f, ok := v.(interface{ fill() }); ok {
		f.fill()
	}
	if c, ok := v.(interface{ Validate() error }); ok {
		if err := c.Validate(); err != nil {
			return d.meta(), schemaError("%v", err)
		}
	}
	return d.meta(), nil
}

// checkTexts bounds free text: at most 1,000 characters, none of them control
// characters other than tab and line ends.
func checkTexts(texts map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if utf8.RuneCountInString(texts[name]) > 1000 || strings.ContainsFunc(texts[name], isControl) {
			return fmt.Errorf("%s is over 1000 characters or holds control characters", name)
		}
	}
	return nil
}

func isControl(r rune) bool {
	return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
}
