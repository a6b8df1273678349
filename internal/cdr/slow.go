package cdr

import (
	"bytes"
	"strconv"

	"github.com/zeebo/xxh3"
)

// slow parses a line that is not in canonical form: quotes, blanks around
// fields, signs, leading zeros, or simply wrong. It names the first thing wrong.
// A row that differs from a canonical one in form only gets the same hash.
func (p *parser) slow(b []byte, r *Row) Reason {
	var fields [columns][]byte
	if reason := split(b, &fields); reason != "" {
		return reason
	}
	var err error
	if r.ID, err = strconv.ParseInt(string(fields[0]), 10, 64); err != nil {
		return ReasonID
	}
	var ok bool
	if r.Start, ok = slowTime(fields[1]); !ok {
		return ReasonStartTime
	}
	if r.Stop, ok = slowTime(fields[2]); !ok {
		return ReasonStopTime
	}
	if r.nICCID, ok = copyDigits(r.iccid[:], fields[3]); !ok || r.nICCID < 18 {
		return ReasonICCID
	}
	if r.nIMSI, ok = copyDigits(r.imsi[:], fields[4]); !ok || r.nIMSI != 0 && r.nIMSI < 6 {
		return ReasonIMSI
	}
	if r.Usage, err = strconv.ParseInt(string(fields[5]), 10, 64); err != nil || r.Usage < 0 {
		return ReasonDataUsage
	}
	if r.nIMEI, ok = copyDigits(r.imei[:], fields[6]); !ok || r.nIMEI != 0 && r.nIMEI < 14 {
		return ReasonIMEI
	}
	if r.nMCCMNC, ok = copyDigits(r.mccmnc[:], fields[7]); !ok || r.nMCCMNC < 5 {
		return ReasonMCCMNC
	}

	c := strconv.AppendInt(p.canon[:0], r.ID, 10)
	c = append(append(c, ','), fields[1]...)
	c = append(append(c, ','), fields[2]...)
	c = append(append(c, ','), r.ICCID()...)
	c = append(append(c, ','), r.IMSI()...)
	c = strconv.AppendInt(append(c, ','), r.Usage, 10)
	c = append(append(c, ','), r.IMEI()...)
	c = append(append(c, ','), r.MCCMNC()...)
	r.Hash = xxh3.Hash(c)
	p.canon = c
	return ""
}

func slowTime(b []byte) (uint32, bool) {
	if len(b) != 19 {
		return 0, false
	}
	return parseTime(b)
}

func copyDigits(dst, src []byte) (uint8, bool) {
	if len(src) > len(dst) {
		return 0, false
	}
	for _, c := range src {
		if c-'0' > 9 {
			return 0, false
		}
	}
	return uint8(copy(dst, src)), true
}

// split cuts a line into exactly eight fields without their quotes and the
// blanks around them. No field of ours may hold a comma, a quote or a line end,
// so a quoted field needs no unescaping: a doubled quote inside fails the
// field's own check. A quote never reaches past its line, so one stray quote
// costs one row and not the rest of the file.
func split(b []byte, fields *[columns][]byte) Reason {
	n := 0
	for {
		var field []byte
		b = bytes.TrimLeft(b, " \t")
		if len(b) > 0 && b[0] == '"' {
			end := bytes.IndexByte(b[1:], '"')
			if end < 0 {
				return ReasonQuotes
			}
			field = bytes.Trim(b[1:1+end], " \t")
			b = bytes.TrimLeft(b[end+2:], " \t")
			if len(b) > 0 && b[0] != ',' {
				return ReasonQuotes
			}
		} else {
			end := bytes.IndexByte(b, ',')
			if end < 0 {
				end = len(b)
			}
			field = bytes.TrimRight(b[:end], " \t")
			b = b[end:]
		}
		if n < columns {
			fields[n] = field
		}
		n++
		if len(b) == 0 {
			break
		}
		b = b[1:]
	}
	if n != columns {
		return ReasonColumns
	}
	return ""
}
