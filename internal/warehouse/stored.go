package warehouse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// storedWidth is a row of (Int64, UInt64, Int64, UInt8) in RowBinary.
const storedWidth = 8 + 8 + 8 + 1

// decodeStored reads fixed-width rows from a stream.
func decodeStored(src io.Reader, each func(Stored)) error {
	buf := make([]byte, 4096*storedWidth)
	have := 0
	for {
		n, err := src.Read(buf[have:])
		have += n
		b := buf[:have]
		for ; len(b) >= storedWidth; b = b[storedWidth:] {
			each(Stored{
				ID:      int64(binary.LittleEndian.Uint64(b)),
				Hash:    binary.LittleEndian.Uint64(b[8:]),
				Version: int64(binary.LittleEndian.Uint64(b[16:])),
				Deleted: b[24] != 0,
			})
		}
		have = copy(buf, b)
		switch {
		case errors.Is(err, io.EOF) && have > 0:
			return fmt.Errorf("answer ends within a row: %w", io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
