package form

import "net"

// Packets is an MQTT connection whose messages of QoS 1 are cut off at most bytes of packet: the
// reader gets a smaller packet, which is still larger than any message it takes, and can
// acknowledge and refuse it. Without that the only answer to it is the end of the connection, after
// which its sender sends it first again, for ever. What is cut off is not kept in memory. All other
// packets pass unchanged, and so does one of more than cut bytes, which no device sends by mistake.
func Packets(c net.Conn, most, cut int) net.Conn { return &packets{Conn: c, most: most, cut: cut} }

// MaxPacket is the most that MQTT allows for a packet.
const MaxPacket = 1<<28 - 1

type packets struct {
	net.Conn
	most, cut int

	ready  []byte // to be read
	header []byte // of the packet that begins
	pass   int    // bytes of the packet that pass as they are
	drop   int    // and of those behind them that do not
	broken bool   // no packet could be told any more
	buffer [4096]byte
}

// Read gives out packets, cut where they are too long.
func (p *packets) Read(b []byte) (int, error) {
	for len(p.ready) == 0 {
		if len(b) == 0 {
			return 0, nil
		}
		n, err := p.Conn.Read(p.buffer[:])
		p.take(p.buffer[:n])
		if len(p.ready) == 0 && err != nil {
			return 0, err
		}
	}
	n := copy(b, p.ready)
	p.ready = p.ready[n:]
	return n, nil
}

func (p *packets) take(b []byte) {
	for len(b) > 0 {
		switch {
		case p.broken:
			p.ready = append(p.ready, b...)
			return
		case p.pass > 0:
			n := min(p.pass, len(b))
			p.ready, b = append(p.ready, b[:n]...), b[n:]
			p.pass -= n
		case p.drop > 0:
			n := min(p.drop, len(b))
			b = b[n:]
			p.drop -= n
		default:
			p.header, b = append(p.header, b[0]), b[1:]
			if len(p.header) > 1 {
				p.begin()
			}
		}
	}
}

// begin looks whether the fixed header is whole: a byte of kind and flags, and up to four of the
// remaining length.
func (p *packets) begin() {
	last := p.header[len(p.header)-1]
	if last >= 0x80 {
		if len(p.header) == 5 { // no length has so many bytes: the reader says so
			p.ready, p.header, p.broken = append(p.ready, p.header...), nil, true
		}
		return
	}
	const publish, qos1 = 3, 2
	length := 0
	for i, x := range p.header[1:] {
		length |= int(x&0x7f) << (7 * i)
	}
	p.pass, p.drop = length, 0
	if p.header[0]>>4 == publish && p.header[0]&6 == qos1 && length > p.most && length <= p.cut {
		p.pass, p.drop = p.most, length-p.most
		p.header = p.header[:1]
		for rest := p.most; ; {
			x := byte(rest & 0x7f) // #nosec G115 -- seven bits
			if rest >>= 7; rest > 0 {
				p.header = append(p.header, x|0x80)
				continue
			}
			p.header = append(p.header, x)
			break
		}
	}
	p.ready, p.header = append(p.ready, p.header...), p.header[:0]
}
