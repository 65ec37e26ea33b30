package agent

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/agent/owners"
	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/sockdiag"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// connections is what /weir/connections shows. Nothing is kept up to date for it: whoever asks has it collected.
func (a *Agent) connections() view.Connections {
	v := view.Connections{Live: a.live, Sockets: a.capture.sockets, Servers: a.capture.servers, Senders: a.capture.senders, Services: a.capture.services.shown}
	if h, err := cgroup.Find(); err == nil { // without one nothing is captured
		v.Processes = owners.New(h)
	}
	return v
}

// live lists connections and sessions of UDP.
func (a *Agent) live(limit int) []listener.Live {
	all := a.listeners.Live(limit)
	for _, s := range a.datagrams.udp.Live(limit - len(all)) {
		all = append(all, listener.Live{
			ID: s.ID, Client: s.Client, Destination: s.Destination, Redirected: s.Captured, Datagrams: true, Netns: s.Netns,
			Listener: s.Listener, Cluster: s.Cluster, Endpoint: s.Endpoint, Age: s.Age, Received: s.Received, Sent: s.Sent,
		})
	}
	return all
}

// sockets lists the captured and offloaded sockets of all namespaces that are served, those that it got to with an error.
func (c *capture) sockets() ([]view.NamespaceSocket, error) {
	k := c.kernel.Load()
	if k == nil {
		return nil, nil
	}
	var all []view.NamespaceSocket
	add := func(found []intercept.LiveSocket, netns uint64, name string) {
		for _, s := range found {
			if s.Earlier {
				s.Service = c.services.serviceTo(s.Dst) // its own numbers mean nothing here
			}
			all = append(all, view.NamespaceSocket{LiveSocket: s, Netns: netns, Namespace: name})
		}
	}
	found, err := k.LiveSockets()
	if err != nil {
		return nil, err
	}
	add(found, 0, "")
	err = c.namespaces.each(func(known *knownNamespace) error {
		return known.ns.Do(func() error {
			found, err := k.LiveSockets()
			add(found, known.in.Cookie, known.in.Name)
			return err
		})
	})
	return all, err
}

// servers lists the listening sockets of all namespaces that are served. What cannot be asked has none.
func (c *capture) servers() []view.NamespaceSocket {
	if c.inbound.kernel.Load() == nil {
		return nil
	}
	return c.everywhere(sockdiag.Query{States: []sockdiag.State{sockdiag.Listen}})
}

// senders lists the sockets of UDP of all namespaces that are served. What cannot be asked has none.
func (c *capture) senders() []view.NamespaceSocket {
	if c.datagrams.kernel.Load() == nil {
		return nil
	}
	return c.everywhere(sockdiag.Query{UDP: true, States: []sockdiag.State{sockdiag.Established, sockdiag.Close}})
}

// everywhere lists sockets of all namespaces that are served.
func (c *capture) everywhere(q sockdiag.Query) []view.NamespaceSocket {
	all := socketsHere(q, 0, "")
	_ = c.namespaces.each(func(known *knownNamespace) error { // its connections are shown without a process then
		return known.ns.Do(func() error {
			all = append(all, socketsHere(q, known.in.Cookie, known.in.Name)...)
			return nil
		})
	})
	return all
}

// socketsHere lists sockets in the network namespace of the calling thread.
func socketsHere(q sockdiag.Query, netns uint64, name string) (all []view.NamespaceSocket) {
	d, err := sockdiag.Open()
	if err != nil {
		return nil
	}
	defer d.Close()
	err = d.Dump(q, func(s *sockdiag.Socket) {
		at := netip.AddrPortFrom(s.Local.Addr().Unmap(), s.Local.Port())
		all = append(all, view.NamespaceSocket{
			LiveSocket: intercept.LiveSocket{Local: at, Cgroup: s.Cgroup, Inode: s.Inode, UID: s.UID}, Netns: netns, Namespace: name,
		})
	})
	if err != nil {
		return nil
	}
	return all
}

// sender tells which cgroup the socket is of that sent a datagram to a capture socket, as long as it is open.
func (c *capture) sender(in *streaminfo.Namespace, client, local netip.AddrPort) (out streaminfo.Cgroup) {
	find := func() error {
		d, err := sockdiag.Open()
		if err != nil {
			return err
		}
		defer d.Close()
		s, _, err := d.Receiver(local, client)
		out.ID = s.Cgroup
		return err
	}
	if in != nil {
		_ = in.Inside(find) // it is not known then
	} else {
		_ = find()
	}
	c.callers.Note(out.ID)
	out.Names = c.callerNames
	return out
}

// each calls f for the namespaces that are open, none of which is left meanwhile.
func (s *namespaces) each(f func(*knownNamespace) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, known := range s.known {
		if known.ns == nil {
			continue
		}
		if err := f(known); err != nil {
			errs = append(errs, fmt.Errorf("network namespace %s: %w", known.in.Name, err))
		}
	}
	return errors.Join(errs...)
}

// shown tells what each service is there for.
func (s *services) shown() map[string]view.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]view.Service, len(s.made))
	for _, l := range s.compiler.Status() {
		for _, name := range l.Offloaded {
			if have := s.made[name]; have != nil && out[name].Listener == "" {
				out[name] = view.Service{Listener: l.Listener, Cluster: have.Cluster}
			}
		}
	}
	return out
}
