// A peer: Node's http. Prints its address.
import http from 'node:http';

function hello(response) {
  response.writeHead(200, {'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': 14});
  response.end('Hello, world!\n');
}

const server = http.createServer((request, response) => {
  if (request.url === '/sleep') {
    setTimeout(() => hello(response), 1000);
  } else {
    hello(response);
  }
});
server.keepAliveTimeout = 600000;
server.listen({host: '127.0.0.1', port: 0, backlog: 4096}, () => console.log(`127.0.0.1:${server.address().port}`));
