package inbound

import (
	"fmt"
	"net/netip"
)

// Own lets a connection of the proxy's through to the application: the one from client, an address and port that the proxy has
// bound, to server, both as the application's namespace sees them. It has to be called before connect(2), and Disown when the
// connection is closed. The application sees peer as its client; the zero value leaves it the client that there is.
func (i *Inbound) Own(netns uint64, client, server, peer netip.AddrPort) error {
	i.life.RLock()
	defer i.life.RUnlock()
	if i.ended {
		return nil // nothing is captured any more
	}
	pair := pairOf(netns, client, server)
	if err := i.objects.Own.Put(&pair, peerOf(peer)); err != nil {
		return fmt.Errorf("let the connection from %s to %s through: %w", client, server, err)
	}
	return nil
}

// Disown ends what Own began. The entry may have been pushed out meanwhile.
func (i *Inbound) Disown(netns uint64, client, server netip.AddrPort) {
	i.life.RLock()
	defer i.life.RUnlock()
	if !i.ended {
		pair := pairOf(netns, client, server)
		_ = i.objects.Own.Delete(&pair)
	}
}

// Owned tells whether a connection is one that Own let through and Disown has not ended.
func (i *Inbound) Owned(netns uint64, client, server netip.AddrPort) bool {
	i.life.RLock()
	defer i.life.RUnlock()
	if i.ended {
		return false
	}
	pair, value := pairOf(netns, client, server), wirePeer{}
	return i.objects.Own.Lookup(&pair, &value) == nil
}
