package cdr

import (
	"strconv"
	"time"
)

// Widths of the text fields, in bytes. A longer value is a bad row.
const (
	maxICCID  = 22
	maxIMSI   = 15
	maxIMEI   = 16
	maxMCCMNC = 6
)

// Row is one call detail record. It has a fixed size and no pointers, so a
// block of rows is one allocation, costs the garbage collector nothing, and
// can be spooled to disk as it is. Times are Unix seconds, UTC.
type Row struct {
	ID    int64  // the supplier's unique key
	Usage int64  // bytes used, 0 or more
	Hash  uint64 // over all eight fields in their canonical form
	Start uint32
	Stop  uint32

	iccid  [maxICCID]byte
	imsi   [maxIMSI]byte
	imei   [maxIMEI]byte
	mccmnc [maxMCCMNC]byte

	nICCID, nIMSI, nIMEI, nMCCMNC uint8

	// Deleted is never set by the decoder: the warehouse writes such a row over
	// a key that no longer holds the record.
	Deleted bool
}

// Hour is the start of the hour in which the record started.
func (r *Row) Hour() uint32 { return r.Start - r.Start%3600 }

// ICCID is the card's number: 18 to 22 digits. The slice is the row's own memory.
func (r *Row) ICCID() []byte { return r.iccid[:r.nICCID] }

// IMSI is the subscriber's number: up to 15 digits, may be empty.
func (r *Row) IMSI() []byte { return r.imsi[:r.nIMSI] }

// IMEI is the device's number: up to 16 digits, may be empty.
func (r *Row) IMEI() []byte { return r.imei[:r.nIMEI] }

// MCCMNC is the network: 3 digits of country, then 2 or 3 of network. It is
// text because network 01 is not network 001. (The supplier's page says "first
// 2 digits mcc", which is wrong.)
func (r *Row) MCCMNC() []byte { return r.mccmnc[:r.nMCCMNC] }

// Record is a Row with Go types, for generators, tests and reports. It is not
// used where rows are counted in millions.
type Record struct {
	ID          int64
	Start, Stop time.Time
	ICCID       string
	IMSI        string
	Usage       int64
	IMEI        string
	MCCMNC      string
}

// Record copies the row.
func (r *Row) Record() Record {
	return Record{
		ID:     r.ID,
		Start:  time.Unix(int64(r.Start), 0).UTC(),
		Stop:   time.Unix(int64(r.Stop), 0).UTC(),
		ICCID:  string(r.ICCID()),
		IMSI:   string(r.IMSI()),
		Usage:  r.Usage,
		IMEI:   string(r.IMEI()),
		MCCMNC: string(r.MCCMNC()),
	}
}

// Header is the first line as the supplier names its columns.
const Header = "id,start_time,stop_time,iccid,imsi,data_usage,imei,mccmnc"

// rowTime is the layout of start_time and stop_time, UTC.
const rowTime = "2006-01-02 15:04:05"

// AppendCSV appends the record as one canonical line: no quotes, no blanks, LF.
func (r Record) AppendCSV(b []byte) []byte {
	b = strconv.AppendInt(b, r.ID, 10)
	b = r.Start.UTC().AppendFormat(append(b, ','), rowTime)
	b = r.Stop.UTC().AppendFormat(append(b, ','), rowTime)
	b = append(append(b, ','), r.ICCID...)
	b = append(append(b, ','), r.IMSI...)
	b = strconv.AppendInt(append(b, ','), r.Usage, 10)
	b = append(append(b, ','), r.IMEI...)
	b = append(append(b, ','), r.MCCMNC...)
	return append(b, '\n')
}

// Row is the record in its fixed form, with the hash that it is stored with.
// Fields that are too long are cut; what the decoder accepted never is.
func (r Record) Row(hash uint64) Row {
	row := Row{ID: r.ID, Usage: r.Usage, Hash: hash, Start: uint32(r.Start.Unix()), Stop: uint32(r.Stop.Unix())}
	row.nICCID = uint8(copy(row.iccid[:], r.ICCID))
	row.nIMSI = uint8(copy(row.imsi[:], r.IMSI))
	row.nIMEI = uint8(copy(row.imei[:], r.IMEI))
	row.nMCCMNC = uint8(copy(row.mccmnc[:], r.MCCMNC))
	return row
}
