package warehouse

import (
	"encoding/binary"
	"io"

	"github.com/simline/simline/internal/cdr"
)

// nativeRows is how many rows go into one block of the wire format. The engine
// gathers blocks into parts by its own measure; a small block stays in the
// processor's cache while its columns are cut out of the rows.
const nativeRows = 16 << 10

// cdrColumns are the columns of simline.cdr that an insert names, in the order
// in which both insert paths send them.
const cdrColumns = "id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, hour, account, file, generated_at, row_hash, is_deleted"

// nativeReader is a stream of Native blocks made from rows on the fly: the body
// of an insert over HTTP. ClickHouse, "Native" format: number of columns,
// number of rows, then per column its name, its type and its values.
type nativeReader struct {
	rows   []cdr.Row
	batch  Batch
	buf    []byte
	unread []byte
	nets   netDict
}

// Read implements io.Reader.
func (r *nativeReader) Read(p []byte) (int, error) {
	if len(r.unread) == 0 {
		n := min(len(r.rows), nativeRows)
		if n == 0 {
			return 0, io.EOF
		}
		r.encode(r.rows[:n])
		r.rows = r.rows[n:]
		r.unread = r.buf
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}

func (r *nativeReader) encode(rows []cdr.Row) {
	le := binary.LittleEndian
	b := binary.AppendUvarint(r.buf[:0], 14)
	b = binary.AppendUvarint(b, uint64(len(rows)))

	b = column(b, "id", "Int64")
	for i := range rows {
		b = le.AppendUint64(b, uint64(rows[i].ID))
	}
	b = column(b, "start_time", "DateTime('UTC')")
	for i := range rows {
		b = le.AppendUint32(b, rows[i].Start)
	}
	b = column(b, "stop_time", "DateTime('UTC')")
	for i := range rows {
		b = le.AppendUint32(b, rows[i].Stop)
	}
	b = column(b, "iccid", "String")
	for i := range rows {
		b = text(b, rows[i].ICCID())
	}
	b = column(b, "imsi", "String")
	for i := range rows {
		b = text(b, rows[i].IMSI())
	}
	b = column(b, "data_usage", "UInt64")
	for i := range rows {
		b = le.AppendUint64(b, uint64(rows[i].Usage))
	}
	b = column(b, "imei", "String")
	for i := range rows {
		b = text(b, rows[i].IMEI())
	}
	b = column(b, "mccmnc", "LowCardinality(String)")
	b = r.nets.append(b, rows)

	b = column(b, "hour", "DateTime('UTC')")
	for i := range rows {
		b = le.AppendUint32(b, rows[i].Hour())
	}
	b = column(b, "account", "LowCardinality(String)")
	b = constant(b, r.batch.Account, len(rows))
	b = column(b, "file", "LowCardinality(String)")
	b = constant(b, r.batch.File, len(rows))

	b = column(b, "generated_at", "DateTime64(3, 'UTC')")
	for range rows {
		b = le.AppendUint64(b, uint64(r.batch.Version))
	}
	b = column(b, "row_hash", "UInt64")
	for i := range rows {
		b = le.AppendUint64(b, rows[i].Hash)
	}
	b = column(b, "is_deleted", "UInt8")
	for i := range rows {
		var d byte
		if rows[i].Deleted {
			d = 1
		}
		b = append(b, d)
	}
	r.buf = b
}

func column(b []byte, name, typ string) []byte {
	return textString(textString(b, name), typ)
}

// text appends a value of a String column: its length, one byte since all of
// ours are short, and its bytes.
func text(b, s []byte) []byte {
	return append(append(b, byte(len(s))), s...)
}

func textString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Serialisation of LowCardinality(String): version 1, then flags (the keys are
// in this block: additional keys, update the dictionary; width of the indexes),
// the keys, the indexes. Key 0 is the default value, as the engine has it.
const (
	lcVersion = 1
	lcFlags   = 1<<9 | 1<<10
	lcUInt8   = 0
	lcUInt16  = 1
)

func lcHeader(b []byte, width uint64, keys int) []byte {
	b = binary.LittleEndian.AppendUint64(b, lcVersion)
	b = binary.LittleEndian.AppendUint64(b, lcFlags|width)
	return binary.LittleEndian.AppendUint64(b, uint64(keys))
}

// constant appends a LowCardinality(String) column that holds one value.
func constant(b []byte, value string, n int) []byte {
	b = lcHeader(b, lcUInt8, 2)
	b = textString(textString(b, ""), value)
	b = binary.LittleEndian.AppendUint64(b, uint64(n))
	for range n {
		b = append(b, 1)
	}
	return b
}

// netDict is the dictionary of the networks in one block: an open hash table
// from the number's bytes to its index, since there are few and they repeat.
type netDict struct {
	slots [4096]netSlot
	keys  [][]byte
	index []uint16
	round uint32
}

type netSlot struct {
	key   uint64
	round uint32 // which block the slot was filled for
	index uint16
}

// maxNets bounds the dictionary, so that the table stays sparse. The world has
// about 3,000 networks; a block with more is encoded row by row.
const maxNets = 2048

func (d *netDict) append(b []byte, rows []cdr.Row) []byte {
	d.round++
	d.keys, d.index = append(d.keys[:0], nil), d.index[:0]
	for i := range rows {
		net := rows[i].MCCMNC()
		key := uint64(len(net))
		for _, c := range net {
			key = key<<8 | uint64(c)
		}
		h := key * 0x9E3779B97F4A7C15 >> 52
		for {
			s := &d.slots[h]
			if s.round != d.round {
				if len(d.keys) == maxNets {
					return d.appendAll(b, rows)
				}
				*s = netSlot{key: key, round: d.round, index: uint16(len(d.keys))}
				d.keys = append(d.keys, net)
			}
			if s.key == key {
				d.index = append(d.index, s.index)
				break
			}
			h = (h + 1) % uint64(len(d.slots))
		}
	}
	width := uint64(lcUInt8)
	if len(d.keys) > 256 {
		width = lcUInt16
	}
	b = lcHeader(b, width, len(d.keys))
	for _, k := range d.keys {
		b = text(b, k)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(len(d.index)))
	for _, i := range d.index {
		if width == lcUInt8 {
			b = append(b, byte(i))
		} else {
			b = binary.LittleEndian.AppendUint16(b, i)
		}
	}
	return b
}

// appendAll gives each row a key of its own; a block has fewer than 2^16 rows.
func (d *netDict) appendAll(b []byte, rows []cdr.Row) []byte {
	b = lcHeader(b, lcUInt16, len(rows)+1)
	b = append(b, 0)
	for i := range rows {
		b = text(b, rows[i].MCCMNC())
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(len(rows)))
	for i := range rows {
		b = binary.LittleEndian.AppendUint16(b, uint16(i+1))
	}
	return b
}
