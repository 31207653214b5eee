CREATE TABLE products (shelf text, name text, price numeric(10, 2));
CREATE INDEX ON products (shelf);
INSERT INTO products
SELECT shelf, 'product ' || number, number * 1.25
FROM unnest(ARRAY['/checkout', '/browse', '/history', '/about']) AS shelf, generate_series(1, 10) AS number;
