// Command reference writes the reference pages of docs/ from the code. In: the
// sources of the configuration structs, the metrics that each worker registers,
// the law of an order's states. Out: config.md, metrics.md and states.md in the
// directory named. With -check it writes nothing and fails if a page is not what
// it would write.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()
	if err := run(flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

var pages = []struct {
	file  string
	write func() ([]byte, error)
}{
	{"config.md", configPage},
	{"metrics.md", metricsPage},
	{"states.md", statesPage},
}

func run(dir string, check bool) error {
	for _, p := range pages {
		want, err := p.write()
		if err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
		path := filepath.Join(dir, p.file)
		if !check {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				return err
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s is not what the code says: run make generate", path)
		}
	}
	return nil
}
