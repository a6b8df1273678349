// Command natsusers writes the NATS accounts and users, which internal/bus
// derives from the topology, into the server's configuration.
//
//	natsusers [-check] deploy/nats/users.conf
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	"github.com/simline/simline/internal/bus"
)

func main() {
	check := flag.Bool("check", false, "fail if the file is not what the code says, and write nothing")
	flag.Parse()
	if err := run(flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, "natsusers:", err)
		os.Exit(1)
	}
}

func run(path string, check bool) error {
	if !check {
		return os.WriteFile(path, []byte(bus.UsersConf()), 0o644)
	}
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, []byte(bus.UsersConf())) {
		return fmt.Errorf("%s is not what the code says: make generate", path)
	}
	return nil
}
