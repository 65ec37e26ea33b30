package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Resolv returns the application with an /etc/resolv.conf of its own.
func (a App) Resolv(text string) App {
	a.host.t.Helper()
	a.resolv = filepath.Join(Dir(a.host.t), "resolv.conf")
	WriteFile(a.host.t, a.resolv, text)
	return a
}

// GoLookup resolves a name by Go's own resolver.
func (a App) GoLookup(name string) Result {
	a.host.t.Helper()
	return a.Run("env", roleVariable+"="+lookupRole, requestVariable+"="+name, os.Args[0])
}

// lookup is the role of GoLookup.
func lookup(name string) int {
	resolver := net.Resolver{PreferGo: true}
	addrs, err := resolver.LookupHost(context.Background(), name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(strings.Join(addrs, " "))
	return 0
}
