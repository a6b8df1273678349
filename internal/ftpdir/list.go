package ftpdir

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"github.com/jlaffaye/ftp"
)

// maxAsked bounds how many files a listing asks for one by one because the
// server's long listing left them out.
const maxAsked = 1000

// Listing is what a directory holds.
type Listing struct {
	Files []Entry // by name
	// Asked are files that only the short listing named; their size was asked
	// for one by one. Some are normal (they came between the two listings); many
	// mean that the server writes its listing in a way that we cannot read.
	Asked int
	// Unread are names that the long listing did not explain and that are more
	// than is sensible to ask for. Never ignore it: these files are not in Files.
	Unread []string
}

// List reads the directory in a session of its own. The long listing is checked
// against the short one, because lines of it that cannot be read are skipped
// without a word.
func (d *Dir) List(ctx context.Context) (Listing, error) {
	s, err := d.Session(ctx)
	if err != nil {
		return Listing{}, err
	}
	defer s.Close()
	return s.List()
}

// List is Dir.List within this session.
func (s *Session) List() (Listing, error) {
	entries, err := s.conn.List("")
	if err != nil {
		return Listing{}, s.failed("list", "directory", err)
	}
	names, err := s.conn.NameList("")
	// Servers disagree on what the short listing of an empty directory is.
	var answer *textproto.Error
	if errors.As(err, &answer) && (answer.Code == ftp.StatusFileUnavailable || answer.Code == ftp.StatusFileActionIgnored) && len(entries) == 0 {
		return Listing{}, nil
	}
	if err != nil {
		return Listing{}, s.failed("list names of", "directory", err)
	}

	var out Listing
	known := make(map[string]struct{}, len(entries))
	for _, e := range entries {
		known[e.Name] = struct{}{}
		if e.Type == ftp.EntryTypeFile {
			out.Files = append(out.Files, Entry{Name: e.Name, Size: int64(e.Size), Modified: e.Time})
		}
	}
	for _, name := range names {
		name = base(strings.TrimRight(name, "\r"))
		if _, ok := known[name]; ok || name == "." || name == ".." {
			continue
		}
		if out.Asked == maxAsked {
			out.Unread = append(out.Unread, name)
			continue
		}
		out.Asked++
		e, err := s.Stat(name)
		switch {
		case errors.Is(err, ErrGone): // a directory, or gone already
		case err != nil:
			return Listing{}, fmt.Errorf("ask for what the listing left out: %w", err)
		default:
			out.Files = append(out.Files, e)
		}
	}
	slices.SortFunc(out.Files, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
