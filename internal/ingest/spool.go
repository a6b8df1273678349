package ingest

type spool struct{}

func (s *spool) put(*message) error { return nil }
func (s *spool) full() bool         { return false }
