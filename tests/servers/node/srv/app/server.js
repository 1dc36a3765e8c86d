// A port below 1024 as an ordinary user; a counter that is kept in the volume.
const http = require('http');
const fs = require('fs');
const file = '/srv/data/note';

const server = http.createServer((request, response) => {
    if (request.method === 'PUT') {
        let body = '';
        request.on('data', (part) => (body += part));
        request.on('end', () => {
            fs.writeFileSync(file, body);
            response.end('kept\n');
        });
        return;
    }
    response.end(`uid ${process.getuid()} ${fs.existsSync(file) ? fs.readFileSync(file) : 'nothing'}\n`);
});
server.listen(80);

// The first process of a container has no default handlers.
for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
        server.close(() => process.exit(0));
        server.closeAllConnections();
    });
}
