package chd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// reencoder turns Native blocks as the library writes them, which is how a server
// writes for protocol version 0, into those of the client's version. Inserts are
// sent at version 0 by every client and need nothing.
type reencoder struct {
	version uint64
	ctx     *column.ServerContext
	buf     chproto.Buffer
}

func newReencoder(version uint64, tz *time.Location) *reencoder {
	return &reencoder{version: version, ctx: &column.ServerContext{Timezone: tz}}
}

// encode returns the whole blocks of chunk again; the result is valid until the
// next call.
func (r *reencoder) encode(chunk []byte) ([]byte, error) {
	r.buf.Reset()
	src := bytes.NewReader(chunk)
	in := chproto.NewReader(src)
	for {
		block := proto.Block{ServerContext: r.ctx}
		switch err := block.Decode(in, 0); {
		case err == nil:
		case errors.Is(err, io.EOF) && block.Columns == nil:
			return r.buf.Buf, nil
		default:
			return nil, fmt.Errorf("read a Native block of the engine: %w", err)
		}
		if err := r.put(&block); err != nil {
			return nil, fmt.Errorf("write a Native block: %w", err)
		}
	}
}

func (r *reencoder) put(block *proto.Block) error {
	if err := block.EncodeHeader(&r.buf, r.version); err != nil {
		return err
	}
	for i, c := range block.Columns {
		if block.Rows() > 0 {
			if err := block.EncodeColumn(&r.buf, r.version, i); err != nil {
				return err
			}
			continue
		}
		// A block without rows has no column state either, which EncodeColumn would write.
		r.buf.PutString(c.Name())
		r.buf.PutString(string(c.Type()))
		if r.version >= proto.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION {
			r.buf.PutBool(false)
		}
	}
	return nil
}
