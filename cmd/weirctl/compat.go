package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/weir-proxy/weir/pkg/agent"
	_ "github.com/weir-proxy/weir/pkg/config/apitypes" // so that every message is described
	"github.com/weir-proxy/weir/pkg/config/translate"
)

const compatHelp = `usage: weirctl compat [--write FILE | --check FILE]

Writes, in Markdown, what becomes of each field of Envoy's configuration in this build: effective, harmless, or not supported.

  --write FILE   put the tables between the markers of FILE
  --check FILE   exit 1 when the tables in FILE are not those of this build
`

// The tables of docs/compatibility.md are between these lines.
const (
	compatBegin = "<!-- weirctl compat: begin -->\n"
	compatEnd   = "<!-- weirctl compat: end -->\n"
)

func runCompat(_ context.Context, args []string, std stdio) int {
	tables, err := compatTables()
	if err != nil {
		fmt.Fprintf(std.err, "weirctl compat: %v\n", err)
		return exitError
	}
	switch {
	case len(args) == 0:
		if _, err := std.out.Write(tables); err != nil {
			return exitError
		}
		return exitOK
	case args[0] == "--help" || args[0] == "-h":
		fmt.Fprint(std.out, compatHelp)
		return exitOK
	case len(args) != 2 || args[0] != "--write" && args[0] != "--check":
		return misuse(std, "compat", fmt.Errorf("unexpected arguments %q", args), compatHelp)
	}
	if err := compatFile(args[1], tables, args[0] == "--write"); err != nil {
		fmt.Fprintf(std.err, "weirctl compat: %v\n", err)
		return exitError
	}
	return exitOK
}

// compatTables are the tables of this build, without disabled extensions.
func compatTables() ([]byte, error) {
	registry, err := agent.Registry()
	if err != nil {
		return nil, err
	}
	translator, err := translate.New(translate.Options{Registry: registry})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := translator.WriteCompatibility(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// compatFile puts the tables into a file, or fails when others are there.
func compatFile(path string, tables []byte, write bool) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read page: %w", err)
	}
	before, rest, begun := bytes.Cut(page, []byte(compatBegin))
	there, after, ended := bytes.Cut(rest, []byte(compatEnd))
	if !begun || !ended {
		return fmt.Errorf("update %s: the lines that mark the tables are missing", path)
	}
	switch {
	case bytes.Equal(there, tables):
		return nil
	case !write:
		return errors.New(path + " is out of date: run weirctl compat --write " + path)
	}
	page = bytes.Join([][]byte{before, []byte(compatBegin), tables, []byte(compatEnd), after}, nil)
	if err := os.WriteFile(path, page, 0o644); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
