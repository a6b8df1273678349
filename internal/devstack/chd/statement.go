package chd

import "strings"

// statement is as much of a SQL text as a server must understand to find where
// an INSERT's data begins and what an answer's format is.
type statement struct {
	verb   string // first word, upper case
	format string // of an explicit FORMAT clause, as written; empty if none
	// For an INSERT with data behind it: head is the text up to SETTINGS, FORMAT
	// or VALUES, settings the clause with its word, and data begins at dataAt.
	insert         bool
	head, settings string
	dataAt         int
}

// parse reads the outermost words of sql. It never fails: what it does not
// understand is the engine's to refuse.
func parse(sql string) statement {
	var st statement
	sc := scanner{s: sql}
	settingsAt, nameNext := -1, false
	for {
		w, at, ok := sc.word()
		if !ok {
			return st
		}
		if st.verb == "" {
			st.verb = strings.ToUpper(w)
			nameNext = st.verb == "INSERT"
			continue
		}
		// What follows INTO, TABLE and FUNCTION is a name, whatever it is called.
		up := strings.ToUpper(w)
		if nameNext {
			if up != "INTO" && up != "TABLE" && up != "FUNCTION" {
				nameNext = false
			}
			continue
		}
		if at > 0 && sql[at-1] == '.' {
			continue
		}
		switch up {
		case "SETTINGS":
			settingsAt = at
		case "SELECT", "WITH", "FROM":
			if st.verb == "INSERT" {
				return statement{verb: st.verb} // data from elsewhere
			}
		case "FORMAT":
			if !sc.wordNext() {
				continue // the function of that name
			}
			st.format, _, _ = sc.word()
			if st.verb == "INSERT" {
				return st.insertAt(sql, at, settingsAt, sc.afterFormat())
			}
			continue
		case "VALUES":
			if st.verb == "INSERT" {
				st.format = "Values"
				return st.insertAt(sql, at, settingsAt, sc.i)
			}
		}
		if up != "SETTINGS" && settingsAt < 0 {
			st.format = "" // a clause stands at the end; that was an alias or a column
		}
	}
}

func (st statement) insertAt(sql string, at, settingsAt, dataAt int) statement {
	st.insert, st.dataAt = true, dataAt
	st.head = sql[:at]
	if settingsAt >= 0 {
		st.head, st.settings = sql[:settingsAt], sql[settingsAt:at]
	}
	return st
}

// from is the statement with its data taken from a file instead.
func (st statement) from(path string) string {
	return st.head + " FROM INFILE " + quote(path, '\'') + " " + st.settings + " FORMAT " + st.format
}

// scanner walks over SQL, stepping over comments, quotes and whatever stands in
// brackets.
type scanner struct {
	s string
	i int
}

// word is the next bare word outside brackets, and where it begins.
func (c *scanner) word() (string, int, bool) {
	depth := 0
	for c.i < len(c.s) {
		at, ch := c.i, c.s[c.i]
		switch {
		case ch == '\'' || ch == '"' || ch == '`':
			c.skipQuoted(ch)
			if depth == 0 && ch != '\'' { // a quoted name is a word that is no keyword
				return "", at, true
			}
		case strings.HasPrefix(c.s[c.i:], "--"), strings.HasPrefix(c.s[c.i:], "# "), strings.HasPrefix(c.s[c.i:], "#!"):
			c.skipPast("\n")
		case strings.HasPrefix(c.s[c.i:], "/*"):
			c.i += 2
			c.skipPast("*/")
		case ch == '(' || ch == '[' || ch == '{':
			depth++
			c.i++
		case ch == ')' || ch == ']' || ch == '}':
			depth--
			c.i++
		case wordByte(ch):
			for c.i < len(c.s) && wordByte(c.s[c.i]) {
				c.i++
			}
			if depth == 0 {
				return c.s[at:c.i], at, true
			}
		default:
			c.i++
		}
	}
	return "", 0, false
}

// wordNext: the next thing but blanks is a bare word.
func (c *scanner) wordNext() bool {
	rest := strings.TrimLeft(c.s[c.i:], " \t\r\n\f")
	return rest != "" && wordByte(rest[0])
}

// afterFormat is where data begins behind a format's name: past blanks and one
// line end, as the server takes it.
func (c *scanner) afterFormat() int {
	i := c.i
	for i < len(c.s) && strings.IndexByte(" \t\r\f", c.s[i]) >= 0 {
		i++
	}
	if i < len(c.s) && c.s[i] == '\n' {
		i++
	}
	return i
}

func (c *scanner) skipQuoted(q byte) {
	for c.i++; c.i < len(c.s); c.i++ {
		switch c.s[c.i] {
		case '\\':
			c.i++
		case q:
			c.i++
			return // a doubled quote is two quoted pieces in a row, to the same effect
		}
	}
	c.i = len(c.s)
}

func (c *scanner) skipPast(end string) {
	if n := strings.Index(c.s[c.i:], end); n >= 0 {
		c.i += n + len(end)
		return
	}
	c.i = len(c.s)
}

func wordByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= 0x80
}
