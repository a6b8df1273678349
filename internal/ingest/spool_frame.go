package ingest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/nats-io/nats.go"
)

// A frame is one message in a spool file:
//
//	magic (4) | length of the payload (4) | number (8) | CRC-32C (4) | payload
//
// integers little endian; the checksum covers length, number and payload. The
// payload is UTF-8 text, in which the magic's first byte never occurs: so a
// reader that lost its way finds the next frame by its magic, and nothing inside
// a message can pass for a frame.
const (
	frameMagic  = "\xffSL\xfe"
	frameHeader = 4 + 4 + 8 + 4
	maxPayload  = MaxBody + 64<<10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends message m under number n.
func appendFrame(b []byte, n uint64, m *message) ([]byte, error) {
	extra := []byte("{}")
	if len(m.extra) > 0 {
		var err error
		if extra, err = json.Marshal(m.extra); err != nil {
			return b, fmt.Errorf("headers: %w", err)
		}
	}
	start := len(b)
	b = append(b, frameMagic...)
	b = append(b, make([]byte, frameHeader-4)...)
	for _, part := range [][]byte{[]byte(m.subject), []byte(m.id), []byte(m.trace), extra} {
		if bytes.IndexByte(part, '\n') >= 0 || bytes.IndexByte(part, frameMagic[0]) >= 0 {
			return b[:start], errors.New("a newline or a byte that is not text in a header")
		}
		b = append(append(b, part...), '\n')
	}
	b = append(b, m.data...)
	f := b[start:]
	if len(f)-frameHeader > maxPayload {
		return b[:start], fmt.Errorf("%d bytes, over %d", len(f)-frameHeader, maxPayload)
	}
	binary.LittleEndian.PutUint32(f[4:], uint32(len(f)-frameHeader))
	binary.LittleEndian.PutUint64(f[8:], n)
	binary.LittleEndian.PutUint32(f[16:], frameSum(f))
	return b, nil
}

func frameSum(f []byte) uint32 {
	return crc32.Update(crc32.Checksum(f[4:16], castagnoli), castagnoli, f[frameHeader:])
}

// frame is a message found in a file, with its number.
type frame struct {
	n uint64
	message
}

// scanFrames finds every whole frame in b, whatever lies between. damaged says
// that there was something else as well: a write that a crash cut short, or a
// disk that lies.
func scanFrames(b []byte) (frames []frame, damaged bool) {
	for len(b) > 0 {
		f, size := readFrame(b)
		if size > 0 {
			frames = append(frames, f)
			b = b[size:]
			continue
		}
		damaged = true
		next := bytes.Index(b[1:], []byte(frameMagic))
		if next < 0 {
			break
		}
		b = b[1+next:]
	}
	return frames, damaged
}

// readFrame reads the frame that b begins with; size is 0 if it is none.
func readFrame(b []byte) (f frame, size int) {
	if len(b) < frameHeader || string(b[:4]) != frameMagic {
		return f, 0
	}
	n := int(binary.LittleEndian.Uint32(b[4:]))
	if n > maxPayload || len(b) < frameHeader+n {
		return f, 0
	}
	b = b[:frameHeader+n]
	if frameSum(b) != binary.LittleEndian.Uint32(b[16:]) {
		return f, 0
	}
	parts := bytes.SplitN(b[frameHeader:], []byte("\n"), 5)
	if len(parts) != 5 {
		return f, 0
	}
	f.n = binary.LittleEndian.Uint64(b[8:])
	f.subject, f.id, f.trace, f.data = string(parts[0]), string(parts[1]), string(parts[2]), parts[4]
	var extra nats.Header
	if json.Unmarshal(parts[3], &extra) != nil {
		return f, 0
	}
	if len(extra) > 0 {
		f.extra = extra
	}
	return f, len(b)
}
