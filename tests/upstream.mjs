/*
 * upstream.mjs - a service that falls ill: it is well for sixty requests, then gone for one and a half
 * seconds (nothing listens), ill for two and a half (503, after a while), and well again.
 *
 * Prints its port, then a line for each request when it comes: {"phase","at","under_way"}, under_way:
 * how many it has at hand then, this one included.
 */
import { createServer } from 'node:http';

const phases = [['well', Infinity, 200, 50], ['gone', 1500], ['ill', 2500, 503, 200], ['well', Infinity, 200, 20]];
let [phase, , status, delay] = phases[0];
let began = 0, requests = 0, under_way = 0, port = 0;

const server = createServer((request, response) => {
	if (!began) {
		began = Date.now();
		next(0);
	}
	under_way++;
	console.log(JSON.stringify({ phase, at: Date.now() - began, under_way }));
	const [s, minute] = [status, Math.ceil(Date.now() / 60_000) * 60];
	request.resume();
	if (++requests === 60)
		next(1);
	setTimeout(() => {
		under_way--;
		response.writeHead(s, s === 200 ? { 'X-RateLimit-Limit': 100_000, 'X-RateLimit-Remaining': 90_000, 'X-RateLimit-Reset': minute } : {});
		response.end('{}');
	}, delay);
});

function next(i) {
	[phase, , status, delay] = phases[i];
	if (phase === 'gone') {
		server.close();
		server.closeAllConnections();
	} else if (!server.listening) {
		server.listen(port, '127.0.0.1');
	}
	if (phases[i][1] < Infinity)
		setTimeout(next, phases[i][1], i + 1);
}

server.listen(0, '127.0.0.1', () => {
	({ port } = server.address());
	console.log(JSON.stringify({ port }));
});
