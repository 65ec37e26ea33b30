package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/options"
)

const validateHelp = `usage: weirctl validate [--allow-unknown-static-fields] [--reject-unsupported] FILE|DIR ...

Checks bootstrap configurations as "weir --mode validate" does: reads, starts nothing, needs no privileges and no network.
A directory stands for the .yaml, .yml, .json, .pb and .pb_text files in it. Every error is printed with file, line, column, field
path and reason. Exits 0 when all are usable, 1 when one is not.

  --allow-unknown-static-fields   unknown fields are warnings
  --reject-unsupported            fields that weir would not act on are errors
`

func runValidate(_ context.Context, args []string, std stdio) int {
	var base options.Options
	var paths []string
	for _, a := range args {
		switch a {
		case "--help", "-h":
			fmt.Fprint(std.out, validateHelp)
			return exitOK
		case "--allow-unknown-static-fields":
			base.AllowUnknownStatic = true
		case "--reject-unsupported":
			base.RejectUnsupported = true
		default:
			if strings.HasPrefix(a, "-") {
				fmt.Fprintf(std.err, "weirctl validate: unknown flag %s\n\n%s", a, validateHelp)
				return exitUsage
			}
			paths = append(paths, a)
		}
	}
	files, err := bootstrapFiles(paths)
	if err != nil {
		fmt.Fprintf(std.err, "weirctl validate: %v\n", err)
		return exitError
	}
	if len(files) == 0 {
		fmt.Fprintf(std.err, "weirctl validate: there is no file to check\n\n%s", validateHelp)
		return exitUsage
	}
	status := exitOK
	for _, f := range files {
		o := base
		o.ConfigPath = f
		if !validateFile(&o, std) {
			status = exitError
		}
	}
	return status
}

func validateFile(o *options.Options, std stdio) bool {
	c, err := agent.Configure(o)
	if err != nil {
		for _, line := range agent.ErrorLines(err) {
			fmt.Fprintln(std.err, line)
		}
		fmt.Fprintf(std.out, "%s: not usable\n", o.ConfigPath)
		return false
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(std.err, "%s: warning: %s\n", o.ConfigPath, w)
	}
	fmt.Fprintf(std.out, "%s: OK\n", o.ConfigPath)
	return true
}

// bootstrapFiles replaces directories by the configuration files in them.
func bootstrapFiles(paths []string) ([]string, error) {
	endings := []string{".yaml", ".yml", ".json", ".pb", ".pb_text"}
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, p)
			continue
		}
		entries, err := os.ReadDir(p)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && slices.Contains(endings, filepath.Ext(e.Name())) {
				files = append(files, filepath.Join(p, e.Name()))
			}
		}
	}
	return files, nil
}
