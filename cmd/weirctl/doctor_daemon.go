package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// examineDaemon asks a daemon which network namespaces of captured processes it serves, and why it does not serve the others.
func examineDaemon(ctx context.Context, out io.Writer, admin, config string) error {
	page, err := askAdmin(ctx, admin, config, "/weir/interception")
	if err != nil {
		return err
	}
	var status struct {
		Active         bool
		Error          string
		CaptureSockets []string `json:"capture_sockets"`
		Namespaces     []struct {
			Name, Cgroup, Path, Error string
			Process                   int
			CaptureSockets            []string `json:"capture_sockets"`
		}
	}
	if err := json.Unmarshal([]byte(page), &status); err != nil {
		return fmt.Errorf("read weir's answer: %w", err)
	}
	if !status.Active {
		fmt.Fprintln(out, "\nThe daemon does not intercept:", cmp.Or(status.Error, "its configuration captures nothing"))
		return nil
	}
	fmt.Fprint(out, "\nNetwork namespaces of captured processes:\n")
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "ok\tweir's own\t%s\n", strings.Join(status.CaptureSockets, " "))
	for _, n := range status.Namespaces {
		verdict := map[bool]string{true: "MISSING", false: "ok"}[len(n.CaptureSockets) == 0]
		who := cmp.Or(n.Path, fmt.Sprintf("process %d in %s", n.Process, n.Cgroup))
		fmt.Fprintf(w, "%s\t%s\t%s\n\t  %s\n", verdict, n.Name, strings.Join(n.CaptureSockets, " "), who)
		if n.Error != "" {
			fmt.Fprintf(w, "\t  %s\n", strings.ReplaceAll(n.Error, "\n", "; "))
		}
	}
	return w.Flush()
}
