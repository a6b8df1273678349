package deploy

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// What tools/images builds and compares is what the Dockerfile puts into an image.
func TestDockerfileBuildsAsToolsDo(t *testing.T) {
	flags := regexp.MustCompile(`-trimpath|-tags \S+|-buildvcs=\S+|-s -w -buildid=`)
	of := func(path string) []string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := flags.FindAllString(string(b), -1)
		slices.Sort(found)
		return slices.Compact(found)
	}
	docker, tools := of("../Dockerfile"), of("../tools/images")
	if len(docker) != 4 || !slices.Equal(docker, tools) {
		t.Errorf("Dockerfile builds with %q, tools/images with %q", docker, tools)
	}
	b, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`(?m)^FROM scratch$`, `(?m)^USER 65532:65532$`, `(?m)^FROM --platform=\$BUILDPLATFORM golang:\d+\.\d+\.\d+-\w+ AS build$`, `GOARCH=\$TARGETARCH`} {
		if !regexp.MustCompile(want).Match(b) {
			t.Errorf("Dockerfile has no %s", want)
		}
	}
}
