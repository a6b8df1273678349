package warehouse

import (
	"context"
	"fmt"
	"time"

	"github.com/simline/simline/internal/cdr"
)

// InsertRejects sets bad rows aside. part numbers the calls for one content, so
// that a repeat under the same part adds nothing.
func (db *DB) InsertRejects(ctx context.Context, f File, part int, rejects []cdr.Reject, at time.Time) error {
	if len(rejects) == 0 {
		return nil
	}
	token := fmt.Sprintf("rejects-%s-%s-%s-%d", f.Account, f.File, f.SHA256, part)
	batch, err := db.conn.PrepareBatch(inserting(ctx, token), "INSERT INTO simline.cdr_rejects (account, file, line, raw, reason, sha256, rejected_at)")
	if err != nil {
		return fmt.Errorf("set %d bad rows of %s aside: %w", len(rejects), f.File, err)
	}
	for _, r := range rejects {
		if err := batch.Append(f.Account, f.File, uint64(r.Line), r.Raw, string(r.Reason), f.SHA256, at); err != nil {
			_ = batch.Abort()
			return fmt.Errorf("set %d bad rows of %s aside: %w", len(rejects), f.File, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("set %d bad rows of %s aside: %w", len(rejects), f.File, err)
	}
	return nil
}
