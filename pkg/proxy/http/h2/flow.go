package h2

// credit gives the connection's window back for n bytes, half a window at a time. The caller holds mu, as those of all
// functions here do.
func (c *link) credit(n int) {
	if c.unacked += n; c.unacked < c.limits.connWindow/2 || c.err != nil {
		return
	}
	c.begin()
	c.out = appendWindowUpdate(c.out, 0, c.unacked)
	c.outFrames++
	c.recvWindow += c.unacked
	c.unacked = 0
	c.flushSoon()
}

// awaitWindow waits until st may send at least one byte of DATA. bounded: do not wait, return errWindow instead.
func (st *stream) awaitWindow(bounded bool) error {
	c := st.c
	for {
		if err := st.sendError(); err != nil {
			return err
		}
		free := c.sendWindow > 0 && (c.room() || bounded)
		first := c.waiters == nil || c.waiters == st || bounded
		if st.sendWindow > 0 && free && first {
			if st.waits {
				c.unwait(st)
			}
			return nil
		}
		if bounded {
			return errWindow
		}
		if !c.flushing && len(c.out) > 0 {
			c.flush(st) // which gives mu up: everything may be different
			continue
		}
		switch {
		case st.sendWindow > 0 && !st.waits:
			c.wait(st)
		case st.sendWindow <= 0 && st.waits: // nobody shall wait behind one who waits for a window of its own
			c.unwait(st)
		}
		st.wcond.Wait()
	}
}

// awaitRoom waits until a head may be added to what is to be sent: many of them make up more memory than payload does.
func (st *stream) awaitRoom() error {
	c := st.c
	for !c.room() {
		if err := st.sendError(); err != nil {
			return err
		}
		if !c.flushing {
			c.flush(st) // which gives mu up: everything may be different
			continue
		}
		c.roomFree.Wait()
	}
	return nil
}

// sendError is why a write shall not wait.
func (st *stream) sendError() error {
	if st.mute {
		return *st.awoken.Load()
	}
	if st.err != nil {
		return st.err
	}
	return st.c.err
}

// wait puts st at the end of the list of those who wait for the connection.
func (c *link) wait(st *stream) {
	st.waits, st.nextWaiter = true, nil
	if c.waiters == nil {
		c.waiters = st
	} else {
		c.lastWaiter.nextWaiter = st
	}
	c.lastWaiter = st
}

// unwait takes st out of the list and lets the next one go on.
func (c *link) unwait(st *stream) {
	st.waits = false
	var before *stream
	for at := c.waiters; at != nil; before, at = at, at.nextWaiter {
		if at != st {
			continue
		}
		if before == nil {
			c.waiters = st.nextWaiter
		} else {
			before.nextWaiter = st.nextWaiter
		}
		if c.lastWaiter == st {
			c.lastWaiter = before
		}
		break
	}
	st.nextWaiter = nil
	c.next()
}

// next wakes up the first of those who wait for the connection, if it can go on. Each wakes up the one after it.
func (c *link) next() {
	if c.waiters != nil && c.sendWindow > 0 && c.room() {
		c.waiters.wcond.Broadcast()
	}
}

// grow takes a WINDOW_UPDATE for a stream.
func (st *stream) grow(n int) bool {
	if st.sendWindow += n; st.sendWindow > maxWindow {
		return false
	}
	st.wcond.Broadcast()
	return true
}
