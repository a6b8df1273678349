package cdr

import "strings"

// Reason says why a line is not a good row. The values stand in
// simline.cdr_rejects and in metrics: never rename one.
type Reason string

// Reasons, in the order in which they are looked for.
const (
	ReasonTooLong         Reason = "too_long"          // longer than MaxLine bytes
	ReasonQuotes          Reason = "quotes"            // a quote that is never closed, or text after a closing one
	ReasonColumns         Reason = "columns"           // not eight columns
	ReasonID              Reason = "id"                // not an int64
	ReasonStartTime       Reason = "start_time"        // not a real date yyyy-MM-dd HH:mm:ss
	ReasonStopTime        Reason = "stop_time"         // not a real date yyyy-MM-dd HH:mm:ss
	ReasonICCID           Reason = "iccid"             // not 18 to 22 digits
	ReasonIMSI            Reason = "imsi"              // neither empty nor 6 to 15 digits
	ReasonDataUsage       Reason = "data_usage"        // not an int64 of 0 or more
	ReasonIMEI            Reason = "imei"              // neither empty nor 14 to 16 digits
	ReasonMCCMNC          Reason = "mccmnc"            // not 5 or 6 digits
	ReasonUsageAbsurd     Reason = "data_usage_absurd" // more bytes than one record can hold
	ReasonStopBeforeStart Reason = "stop_before_start" //
	ReasonFuture          Reason = "start_in_future"   // starts after now
	ReasonTooOld          Reason = "start_too_old"     // starts more than 31 days before the file's window
)

// maxRaw bounds the text kept of a bad line, in bytes.
const maxRaw = 4096

// Reject is one line that was not a good row. Nothing of it was loaded.
type Reject struct {
	Line   int64  // from 1, the header included
	Raw    string // the line without its line end, valid UTF-8, at most 4 KiB
	Reason Reason
}

func newReject(line int64, raw []byte, reason Reason) Reject {
	if len(raw) > maxRaw {
		raw = raw[:maxRaw]
	}
	// The warehouse would take any bytes, but the tools that read it would not.
	return Reject{Line: line, Raw: strings.ToValidUTF8(string(raw), "\uFFFD"), Reason: reason}
}
