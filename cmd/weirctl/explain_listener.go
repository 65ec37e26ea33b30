package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// listenerList is what of /listeners is looked at.
type listenerList struct {
	Statuses []struct {
		Name    string
		Address struct {
			Socket struct {
				Address string
				Port    uint16 `json:"port_value"`
			} `json:"socket_address"`
		} `json:"local_address"`
	} `json:"listener_statuses"`
}

// listener asks the daemon where a listener listens.
func (a *explainArguments) listener(ctx context.Context, name string) (string, error) {
	page, err := askAdmin(ctx, a.admin, a.config, "/listeners?format=json")
	if err != nil {
		return "", err
	}
	var list listenerList
	if err := json.Unmarshal([]byte(page), &list); err != nil {
		return "", fmt.Errorf("read weir's listeners: %w", err)
	}
	var names []string
	for _, s := range list.Statuses {
		names = append(names, s.Name)
		if s.Name != name {
			continue
		}
		at := s.Address.Socket
		ip, err := netip.ParseAddr(at.Address)
		switch {
		case err != nil || at.Port == 0:
			return "", fmt.Errorf("destination listener:%s: it does not listen on an address and port", name)
		case ip.IsUnspecified():
			return "", fmt.Errorf("destination listener:%s: it listens on any address; give one, as in 192.0.2.1:%d", name, at.Port)
		}
		return net.JoinHostPort(at.Address, strconv.Itoa(int(at.Port))), nil
	}
	slices.Sort(names)
	return "", fmt.Errorf("destination listener:%s: there is no such listener, but %s", name, strings.Join(names, ", "))
}
