package ingest

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
)

// MaxBody is the largest notification that is taken, in bytes.
const MaxBody = 1 << 20

// smallBody is what every request may use; above it memory is counted.
const smallBody = 8 << 10

// budget bounds what large bodies take together. It is charged as bytes arrive,
// not as they are promised, so that who sends slowly holds little.
type budget struct {
	left atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) { b.left.Add(n) }

// read makes the request's body in.body and takes from the budget what it needs.
func (in *intake) read(req *request, mem *budget) (err error) {
	if in.body = req.whole; req.body == nil {
		return nil
	}
	in.own, in.charged, err = readBody(req.body, in.own, mem)
	in.body = in.own
	return err
}

// readBody reads a body into buf, which it may grow, and says how much was taken
// from the budget: the caller gives it back.
func readBody(from io.Reader, buf []byte, mem *budget) (body []byte, charged int64, err error) {
	buf = buf[:0]
	if cap(buf) < 1024 {
		buf = make([]byte, 0, smallBody)
	}
	for {
		if len(buf) == cap(buf) {
			grown := min(2*cap(buf), MaxBody+1)
			if len(buf) > MaxBody {
				return nil, charged, errTooLarge
			}
			if grown > smallBody {
				if !mem.take(int64(grown) - charged) {
					return nil, charged, errOverload
				}
				charged = int64(grown)
			}
			buf = append(make([]byte, 0, grown), buf...)
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			if len(buf) > MaxBody {
				return nil, charged, errTooLarge
			}
			return buf, charged, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, charged, errSlow
		case err != nil:
			return nil, charged, errCutShort
		}
	}
}
